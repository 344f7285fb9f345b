// Where the system gives little: too little address space is told in one line or is enough, and
// with no threads to be had a command works with one or says what to raise. It never hangs, and no
// library has the last word.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "kernels/runtime/context.h"
#include "tests/cli/program.h"

namespace memengine {
namespace {

constexpr uid_t nobody = 60123;

// Runs the program under a limit; one that hangs is killed after a minute. Root is above the limit
// of processes, so it is given up.
Outcome run_limited(const TemporaryFolder& folder, int resource, rlim_t limit,
                    const std::vector<std::string>& arguments) {
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<char*> words = {const_cast<char*>(MEMENGINE_PROGRAM)};
    for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    const auto redirect = [&](const char* name, int to) {
      ::dup2(::open((folder / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666), to);
    };
    redirect("stdout", STDOUT_FILENO);
    redirect("stderr", STDERR_FILENO);
    ::unsetenv("OMP_NUM_THREADS");
    ::unsetenv("OPENBLAS_NUM_THREADS");
    ::alarm(60);  // outlives exec
    if (::chdir(folder.path().c_str()) != 0) ::_exit(127);
    if (::geteuid() == 0 && resource == RLIMIT_NPROC && ::setresuid(nobody, nobody, nobody) != 0) {
      ::_exit(127);
    }
    const rlimit limits = {limit, limit};
    ::setrlimit(static_cast<__rlimit_resource>(resource), &limits);
    ::execv(words[0], words.data());
    ::_exit(126);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, file_bytes(folder / "stdout"), file_bytes(folder / "stderr")};
}

// A folder with prepared data that anybody may write to.
void prepare(const TemporaryFolder& folder) {
  folder.write("a.jsonl", small_texts());
  folder.write("config.yaml", small_config());
  run_well(folder, {"prepare", "a.jsonl", "--tokenizer", "bytes", "--out", "data"});
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
}

TEST(Limits, LittleAddressSpaceIsEnoughOrToldInOneLine) {
  const TemporaryFolder folder;
  prepare(folder);
  int done = 0;
  for (const rlim_t kib :
       {400'000, 500'000, 700'000, 800'000, 850'000, 900'000, 2'000'000, 3'000'000}) {
    for (const std::string command : {"train", "inspect"}) {
      std::filesystem::remove_all(folder / "run");
      std::vector<std::string> words = {command, "config.yaml"};
      if (command == "train") words.insert(words.end(), {"steps=2", "device=cpu"});
      const Outcome outcome = run_limited(folder, RLIMIT_AS, kib * 1024, words);
      // CUDA's libraries are so large that the system's loader gives up before the program begins.
      if (cuda_build && outcome.code == 127) continue;
      EXPECT_TRUE(outcome.code == 0 || outcome.code == 2)
          << command << " in " << kib << " KiB: " << outcome.code << ", " << outcome.error;
      EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'),
                outcome.code == 0 ? 0 : 1)
          << outcome.error;
      if (outcome.code == 2) expect_contains(outcome.error, "ulimit -v");
      done += outcome.code == 0 ? 1 : 0;
    }
  }
  EXPECT_GE(done, 4);
}

TEST(Limits, WithoutThreadsACommandWorksAloneOrSaysWhatToRaise) {
  const TemporaryFolder folder;
  prepare(folder);
  const Outcome trained = run_limited(folder, RLIMIT_NPROC, 1, {"train", "config.yaml", "steps=2"});
  if (trained.code >= 126 && trained.code <= 127) GTEST_SKIP() << "others cannot run the program";
  EXPECT_EQ(trained.code, 0) << trained.error;
  EXPECT_EQ(trained.error, "");
  expect_contains(trained.out, "CPU, 1 thread\n");
  expect_contains(trained.out, "saved step 2");
  const Outcome prepared = run_limited(
      folder, RLIMIT_NPROC, 1, {"prepare", "a.jsonl", "--tokenizer", "bytes", "--out", "other"});
  EXPECT_EQ(prepared.code, 2);
  EXPECT_EQ(prepared.error,
            "memengine: the system starts no more threads: raise the limit of processes (`ulimit "
            "-u`, or the container's) or that of memory (`ulimit -v`)\n");
  EXPECT_FALSE(std::filesystem::exists(folder / "other"));
}

}  // namespace
}  // namespace memengine
