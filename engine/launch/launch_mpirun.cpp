// See launch_mpirun.h.
#include "engine/launch/launch_mpirun.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/mpi_communicator.h"

namespace memengine {
namespace {

constexpr int not_found = 127;

// The words before the program's own. Some more ranks than cores is the user's choice.
std::vector<std::string> mpirun_words(int ranks) {
  std::vector<std::string> words = {"mpirun", "--quiet", "--oversubscribe",    "--bind-to",
                                    "none",   "-n",      std::to_string(ranks)};
  if (::geteuid() == 0) words.insert(words.begin() + 1, "--allow-run-as-root");
  return words;
}

}  // namespace

int launch_mpirun(const Launch& launch) {
  if (!mpi_is_built_in()) {
    fail_input(
        "--ranks {}: this build has no MPI, which joins ranks on CPUs: install libopenmpi-dev and "
        "build again",
        launch.ranks);
  }
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int most = std::max(8, 4 * cores);
  if (launch.ranks > most) {
    fail_input("--ranks {}: too many for this machine's {} cores; at most {}", launch.ranks, cores,
               most);
  }
  std::vector<std::string> words = mpirun_words(launch.ranks);
  words.push_back(launch.program);
  words.insert(words.end(), launch.arguments.begin(), launch.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string threads = std::to_string(std::max(1, cores / launch.ranks));
  ::setenv("OMP_NUM_THREADS", threads.c_str(), 0);

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) fail_internal("cannot start mpirun: {}", std::strerror(errno));
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    ::setpgid(0, 0);  // Ctrl-C reaches the launcher alone
    ::execvp(arguments[0], arguments.data());
    ::_exit(not_found);
  }
  int signal = 0;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) != child) {
    if (signal == 0) {
      signal = launch.stop_signal();
      if (signal != 0) ::kill(child, SIGUSR1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (code == not_found) {
    fail_input("--ranks {}: there is no mpirun: install openmpi-bin", launch.ranks);
  }
  return signal != 0 && code == 128 + SIGUSR1 ? 128 + signal : code;
}

}  // namespace memengine
