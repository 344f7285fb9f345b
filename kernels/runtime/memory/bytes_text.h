// A number of bytes in words.
#pragma once

#include <cstdint>
#include <string>

namespace memengine {

// "1.50 GiB", "640.0 KiB", "12 bytes".
std::string bytes_text(std::int64_t bytes);

}  // namespace memengine
