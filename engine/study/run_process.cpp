#include "engine/study/run_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/runtime/error.h"

namespace memengine {

RunProcess::RunProcess(const std::filesystem::path& program,
                       const std::vector<std::string>& arguments,
                       const std::filesystem::path& output, const std::filesystem::path& errors,
                       const std::string& gpu) {
  // All that allocates comes before the fork.
  std::vector<char*> words = {const_cast<char*>(program.c_str())};
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const std::string visible = "CUDA_VISIBLE_DEVICES=" + gpu;
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (gpu.empty() || std::strncmp(*entry, "CUDA_VISIBLE_DEVICES=", 21) != 0) {
      environment.push_back(*entry);
    }
  }
  if (!gpu.empty()) environment.push_back(const_cast<char*>(visible.c_str()));
  environment.push_back(nullptr);
  const pid_t parent = ::getpid();
  process_ = ::fork();
  if (process_ < 0) fail_internal("a study cannot start a run: {}", std::strerror(errno));
  if (process_ > 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::setpgid(0, 0);
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  constexpr int fresh = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC;
  const int file = ::open(errors.c_str(), fresh, 0644);
  const int said = output.empty()     ? nowhere
                   : output == errors ? file
                                      : ::open(output.c_str(), fresh, 0644);
  if (nowhere < 0 || file < 0 || said < 0) ::_exit(127);
  ::dup2(nowhere, STDIN_FILENO);
  ::dup2(said, STDOUT_FILENO);
  ::dup2(file, STDERR_FILENO);
  ::execve(program.c_str(), words.data(), environment.data());
  ::_exit(127);
}

RunProcess::~RunProcess() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
}

RunProcess::RunProcess(RunProcess&& other) noexcept
    : process_(std::exchange(other.process_, -1)), code_(other.code_) {}

bool RunProcess::ended() {
  if (process_ <= 0) return true;
  int status = 0;
  if (::waitpid(process_, &status, WNOHANG) != process_) return false;
  process_ = -1;
  code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

void RunProcess::signal(int number) const {
  if (process_ > 0) ::kill(process_, number);
}

}  // namespace memengine
