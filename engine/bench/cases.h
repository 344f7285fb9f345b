// The shapes that the benchmark knows by name: the shipped configs with their overrides.
#pragma once

#include <string>
#include <vector>

#include "engine/config/config.h"
#include "kernels/runtime/context.h"

namespace memengine::bench {

struct BenchCase {
  std::string name;
  RunConfig config;  // its vocabulary is known
  std::string note;  // what was assumed, if anything
};

// Names in the order of the tables. For the CPU there are small ones, built in.
std::vector<std::string> step_case_names(Device device);  // whole steps, by default
std::vector<std::string> op_case_names(Device device);    // ops, by default
std::vector<std::string> decode_case_names(Device device);

// Reads the case's config below `config_folder`. Input error for an unknown name or config.
BenchCase named_case(const std::string& name, const std::string& config_folder);

// Any config with overrides, named after its file; its vocabulary is its tokenizer's, where it does
// not say.
BenchCase case_of_config(const std::string& path, const std::vector<std::string>& overrides);

}  // namespace memengine::bench
