// OpenBLAS starts no threads of its own.
//
// It would start one for each core before main() begins, although the program holds it to one
// (kernels/linear/cpu_gemm.h). Where a limit (`ulimit -u`, `ulimit -v`) does not let it have them,
// it ends the process by SIGINT, or one of them looks for memory for ever while the exit waits for
// it. How many it starts it reads from OPENBLAS_NUM_THREADS when it is loaded, so the program
// starts itself again with that set, before any library has run: functions in .preinit_array are
// the first of a process. They may call the system and little else.
#include <unistd.h>

#include <climits>
#include <cstddef>

namespace {

constexpr char wanted[] = "OPENBLAS_NUM_THREADS=1";
constexpr std::size_t name_length = sizeof "OPENBLAS_NUM_THREADS=" - 1;
constexpr int most_variables = 8192;

bool begins(const char* text, const char* with, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    if (text[i] != with[i]) return false;
  }
  return true;
}

void start_again_with_one_thread(int /*count*/, char** arguments, char** environment) {
  char* variables[most_variables];
  int count = 0;
  for (char** at = environment; *at != nullptr; ++at) {
    if (begins(*at, wanted, name_length)) {
      if (begins(*at, wanted, sizeof wanted)) return;
      continue;
    }
    if (count + 2 >= most_variables) return;
    variables[count++] = *at;
  }
  variables[count++] = const_cast<char*>(wanted);
  variables[count] = nullptr;
  // By its own path, so that the process keeps its name.
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return;  // without /proc we go on as we are
  path[length] = '\0';
  execve(path, arguments, variables);
}

}  // namespace

__attribute__((section(".preinit_array"),
               used)) static void (*const first)(int, char**, char**) = start_again_with_one_thread;
