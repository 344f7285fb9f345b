// The home folder in paths: what a shell makes of `~/x`, for paths that no shell has seen (a
// config's values, `--out=~/x`).
#pragma once

#include <string>

namespace memengine {

// "~" and "~/x" with the user's home folder ($HOME, else the system's), "~name" and "~name/x" with
// that user's; any other path as it is. Input error where there is no such user. A file that is
// really called so is written "./~x".
std::string expand_home(const std::string& path);

}  // namespace memengine
