// SHA-256 (FIPS 180-4), with which the evaluation harness marks documents, prompts and targets.
#pragma once

#include <string>
#include <string_view>

namespace memengine {

// 64 lower-case hexadecimal digits.
std::string sha256(std::string_view bytes);

}  // namespace memengine
