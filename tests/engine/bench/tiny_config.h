// A model that takes no time, as a file that `bench --config` reads.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace memengine::bench {

inline std::string write_temporary(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::ofstream(path) << text;
  return path.string();
}

// `memory`: what is said of the memory layers beside their size, in YAML's flow form.
inline std::string tiny_config(const std::string& memory) {
  return R"(
name: tiny
dump_dir: .
distributed: {model_dtype: fp32}
model:
  dim: 16
  n_layers: 3
  n_heads: 2
  vocab_size: 64
  productkey_args: {is_enabled: true, layers: "0,2", mem_n_keys: 16, mem_heads: 2, mem_knn: 4,
                    mem_k_dim: 16, )" +
         memory + R"(}
data: {batch_size: 2, seq_len: 19, tokenizer: {name: bytes}}
)";
}

}  // namespace memengine::bench
