// How fast a case's model generates: greedy decoding of random prompts, with random weights.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/bench/cases.h"
#include "engine/bench/results.h"

namespace memengine::bench {

struct DecodeShape {
  std::int64_t sequences = 1;     // at once
  std::int64_t prompt = 32;       // tokens of each
  std::int64_t new_tokens = 128;  // of each; 1: the prompts' reading is what is measured
};

// The shapes that are measured: one text, 64 texts, and reading a long prompt; smaller ones on the
// CPU or when `quick`.
std::vector<DecodeShape> decode_shapes(Device device, bool quick);

// Median over `repetitions` of the time from prompts to the last token, after one that is not
// counted. A case that does not fit the machine gives a result with `failure`.
std::vector<DecodeResult> bench_decode(const BenchCase& bench_case, Device device,
                                       const std::vector<DecodeShape>& shapes, int repetitions);

}  // namespace memengine::bench
