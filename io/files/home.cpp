#include "io/files/home.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "kernels/runtime/error.h"

namespace memengine {

std::string expand_home(const std::string& path) {
  if (!path.starts_with('~')) return path;
  const std::size_t end = std::min(path.find('/'), path.size());
  const std::string user = path.substr(1, end - 1);
  const char* home = user.empty() ? std::getenv("HOME") : nullptr;
  if (home == nullptr || *home == '\0') {
    const passwd* entry = user.empty() ? ::getpwuid(::getuid()) : ::getpwnam(user.c_str());
    if (entry == nullptr) {
      fail_input("{}: there is no user '{}'; a file that is called so is written ./{}", path, user,
                 path);
    }
    home = entry->pw_dir;
  }
  return home + path.substr(end);
}

}  // namespace memengine
