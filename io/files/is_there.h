// Whether something of a name is there.
#pragma once

#include <filesystem>

namespace memengine {

// Unlike std::filesystem::exists it never throws, and a link that leads nowhere or in a circle is
// there: whoever opens it says what is wrong with it.
inline bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

}  // namespace memengine
