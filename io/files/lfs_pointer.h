// Git LFS keeps a large file's place with a small text; without git-lfs a clone has only that.
#pragma once

#include <string_view>

#include "kernels/runtime/error.h"

namespace memengine {

inline constexpr std::string_view lfs_pointer_begin = "version https://git-lfs.github.com/spec/";

// Input error when a file that begins with `first` is such a text; `where` names it.
inline void refuse_lfs_pointer(std::string_view where, std::string_view first) {
  if (!first.starts_with(lfs_pointer_begin)) return;
  fail_input("{} is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`", where);
}

}  // namespace memengine
