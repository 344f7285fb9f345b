// Runs the built program as a user would, in a folder of its own.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/io/temporary_folder.h"

namespace memengine {

struct Outcome {
  int code = -1;  // exit code; 128 + n when killed by signal n
  std::string out, error;
};

// A program at work; its streams go to files in `folder`. A file "stdin" there, where there is one,
// is its standard input.
class RunningProgram {
 public:
  RunningProgram(const TemporaryFolder& folder, const std::vector<std::string>& arguments)
      : out_(folder / "stdout"), error_(folder / "stderr") {
    std::vector<char*> words = {const_cast<char*>(MEMENGINE_PROGRAM)};
    for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    process_ = ::fork();
    if (process_ != 0) return;
    const auto redirect = [](const std::filesystem::path& path, int to) {
      const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      ::dup2(file, to);
    };
    const int input = ::open((folder / "stdin").c_str(), O_RDONLY);
    if (input >= 0) ::dup2(input, STDIN_FILENO);
    redirect(out_, STDOUT_FILENO);
    redirect(error_, STDERR_FILENO);
    ::setenv("OMP_NUM_THREADS", "1", 1);  // small models, and other tests run beside this one
    if (::chdir(folder.path().c_str()) == 0) ::execv(words[0], words.data());
    ::_exit(127);
  }
  ~RunningProgram() {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  void send(int signal) const { ::kill(process_, signal); }
  // Holds it; signals wait until SIGCONT.
  void stop() const { ::kill(process_, SIGSTOP); }

  // Waits until `happened`; false when the program ended before.
  bool wait_until(const std::function<bool()>& happened) {
    while (!happened()) {
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid != 0) {
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  Outcome finish() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = 0;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return {code, file_bytes(out_), file_bytes(error_)};
  }

 private:
  std::filesystem::path out_, error_;
  pid_t process_ = 0;
};

inline Outcome run_program(const TemporaryFolder& folder,
                           const std::vector<std::string>& arguments) {
  return RunningProgram(folder, arguments).finish();
}

// Runs and expects success; returns what was printed.
inline std::string run_well(const TemporaryFolder& folder,
                            const std::vector<std::string>& arguments) {
  const Outcome outcome = run_program(folder, arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.error;
  EXPECT_EQ(outcome.error, "");
  return outcome.out;
}

// Runs and expects exit code 2 with one line on stderr that contains every one of `parts`.
inline void expect_refusal(const TemporaryFolder& folder, const std::vector<std::string>& arguments,
                           const std::vector<std::string>& parts) {
  const Outcome outcome = run_program(folder, arguments);
  EXPECT_EQ(outcome.code, 2) << outcome.out << outcome.error;
  EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  EXPECT_TRUE(outcome.error.ends_with('\n')) << outcome.error;
  EXPECT_LT(outcome.error.size(), 4000U) << outcome.error;
  for (const std::string& part : parts) {
    EXPECT_NE(outcome.error.find(part), std::string::npos)
        << "no '" << part << "' in: " << outcome.error;
  }
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}

// A small memory model on bytes, for the data that `prepare --tokenizer bytes --out data` makes.
inline std::string small_config() {
  return R"(name: small
dump_dir: run
seed: 7
steps: 100
device: cpu
optim: {lr: 3e-3, warmup: 10}
model:
  dim: 32
  n_layers: 2
  n_heads: 2
  multiple_of: 32
  productkey_args:
    is_enabled: true
    layers: "1"
    mem_n_keys: 19
    mem_heads: 2
    mem_knn: 8
    mem_k_dim: 16
    mem_query_norm: batchnorm
data:
  root_dir: data
  batch_size: 2
  seq_len: 33
  tokenizer: {name: bytes}
checkpoint:
  dump: {every: 25, keep: 2}
logging: {freq: 1}
)";
}

// Twenty documents of different lengths, as JSON lines.
inline std::string small_texts() {
  std::string lines;
  for (int i = 0; i < 20; ++i) {
    std::string text;
    for (int word = 0; word < 10 + 7 * i; ++word) {
      text += std::string("the ") + (word % 3 == 0 ? "quick" : "lazy") +
              (word % 5 == i % 5 ? " fox " : " dog ");
    }
    lines += "{\"text\": \"" + text + "\"}\n";
  }
  return lines;
}

}  // namespace memengine
