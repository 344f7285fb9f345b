// A small model with a memory, in files, with known rows where a test plants them.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/memory_probe/probe_model.h"
#include "engine/model_files/model_files.h"
#include "engine/model_files/table_columns.h"
#include "io/checkpoints/safetensors.h"
#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {

// A config on bytes; `memory`: further keys of productkey_args, "swilu_projection: false".
inline std::string probe_config(const std::string& memory = "") {
  return R"(name: probe
dump_dir: run
model:
  dim: 32
  n_layers: 3
  n_heads: 4
  multiple_of: 16
  vocab_size: 258
  productkey_args:
    is_enabled: true
    layers: "0,2"
    mem_n_keys: 48
    mem_heads: 2
    mem_knn: 5
    mem_k_dim: 16
)" + (memory.empty() ? "" : "    " + memory + "\n") +
         R"(data:
  root_dir: data
  seq_len: 64
  tokenizer: {name: bytes}
)";
}

// An exported model of random weights in `folder`; with `zero_values` all of its rows are zero.
inline void write_probe_model(const std::filesystem::path& folder, const std::string& config,
                              std::uint64_t seed = 7, bool zero_values = false) {
  std::filesystem::create_directories(folder);
  write_file_atomically(FileSystem::real(), folder / "config.yaml", config);
  const RunConfig run = parse_run_config(config, "config.yaml");
  Runtime runtime(Device::cpu);
  InferenceSize size;
  size.tokens = 64;
  InferenceModel model(run.model, size, runtime);
  model.initialize(seed);
  if (zero_values) {
    for (const MemoryBank& bank : model.transformer().banks()) {
      const ValueRows& rows = bank.values().rows();
      const FileTensor table = table_tensor(runtime.context(), bank.values(), TablePart::weights);
      table.write(0,
                  std::vector<std::byte>(static_cast<std::size_t>(rows.rows * rows.v_dim() * 4)));
    }
  }
  const auto files = model_files(runtime.context(), model.transformer(), nullptr);
  write_safetensors(FileSystem::real(), folder / "model.safetensors", files.front().tensors);
}

inline ProbeOptions probe_options(const std::filesystem::path& folder, Device device = Device::cpu,
                                  std::int64_t rows = 0) {
  ProbeOptions options;
  options.model = folder.string();
  options.device = device == Device::cuda ? "cuda" : "cpu";
  options.fp32 = true;
  options.rows = rows;
  return options;
}

inline std::vector<Device> probe_devices() {
  std::vector<Device> devices = {Device::cpu};
  if (choose_device("auto") == Device::cuda) devices.push_back(Device::cuda);
  return devices;
}

// Overwrites a row of the table that memory `memory` reads.
inline void plant_row(ProbeModel& model, std::size_t memory, std::int64_t row,
                      const std::vector<float>& value) {
  const MemoryBank& bank = model.model().transformer().banks()[model.shares_table() ? 0 : memory];
  const FileTensor table = table_tensor(model.model().context(), bank.values(), TablePart::weights);
  table.write(static_cast<std::uint64_t>(row) * value.size() * 4, std::as_bytes(std::span(value)));
  model.model().synchronize();
}

// A trained or initial parameter, by its name in files.
inline std::vector<float> parameter(ProbeModel& model, const std::string& name) {
  for (const NamedTensor& named : model.model().transformer().parameters().named()) {
    if (named.name != name) continue;
    std::vector<float> numbers(static_cast<std::size_t>(named.value.size()));
    copy_bytes(model.model().context(), numbers.data(), named.value.data(), named.value.bytes());
    model.model().synchronize();
    return numbers;
  }
  ADD_FAILURE() << "no parameter " << name;
  return {};
}

// Rows of a pass: documents of these lengths, of random bytes.
inline ScoreRows random_documents(std::mt19937& random, const std::vector<int>& lengths) {
  ScoreRows rows;
  for (const int length : lengths) {
    const auto start = static_cast<std::int32_t>(rows.size());
    for (int i = 0; i < length; ++i) {
      rows.tokens.push_back(static_cast<std::int32_t>(random() % 256));
      rows.targets.push_back(static_cast<std::int32_t>(random() % 256));
      rows.positions.push_back(i);
      rows.document_start.push_back(start);
    }
  }
  return rows;
}

}  // namespace memengine
