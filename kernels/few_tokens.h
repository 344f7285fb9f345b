// How many tokens count as few: up to so many, a pass of decoding, kernels that give a block many
// tokens leave most of the GPU waiting, and others take over.
#pragma once

#include <cstdint>

namespace memengine::cuda {

inline constexpr std::int64_t few_tokens = 64;

}  // namespace memengine::cuda
