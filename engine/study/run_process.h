// A command of this program as a process of its own.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace memengine {

class RunProcess {
 public:
  // Starts program with these arguments, its standard output to a file (empty: to nowhere) and
  // stderr to another, or the same. `gpu` other than empty is the only one that it sees. It is
  // killed when this process dies, and Ctrl-C on the terminal does not reach it. Internal error
  // where no process can be started.
  RunProcess(const std::filesystem::path& program, const std::vector<std::string>& arguments,
             const std::filesystem::path& output, const std::filesystem::path& errors,
             const std::string& gpu);
  ~RunProcess();  // kills it if it still runs
  RunProcess(RunProcess&& other) noexcept;
  RunProcess& operator=(RunProcess&&) = delete;

  // Whether it has ended; code() is then its exit code, or 128 + the signal that ended it.
  bool ended();
  int code() const { return code_; }
  void signal(int number) const;

 private:
  pid_t process_ = -1;
  int code_ = -1;
};

}  // namespace memengine
