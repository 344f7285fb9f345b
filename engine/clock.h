// Seconds of a clock that never jumps.
#pragma once

#include <chrono>

namespace memengine {

inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace memengine
