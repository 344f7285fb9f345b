// Lets value rows decay on their way out of a checkpoint.
#include "engine/model_files/weight_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "engine/model_files/row_decay.h"
#include "io/checkpoints/checkpoint.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// What is left of each row of a table since its last update.
struct RowDecay {
  std::vector<float> keep;
  std::int64_t columns = 0;
};

RowDecay read_decay(const Checkpoint& checkpoint, const TensorInfo& weights,
                    const TensorInfo& last_step, const std::vector<double>& log_decay) {
  const auto rows = static_cast<std::size_t>(weights.shape.empty() ? 0 : weights.shape[0]);
  if (last_step.dtype != FileDtype::i32 || last_step.bytes != rows * 4) {
    fail_input("{}: tensor '{}' does not fit '{}'", checkpoint.folder().string(), last_step.name,
               weights.name);
  }
  std::vector<std::int32_t> steps(rows);
  checkpoint.read(last_step.name, 0, std::as_writable_bytes(std::span(steps)));
  const auto now = static_cast<std::size_t>(checkpoint.step());
  RowDecay decay{std::vector<float>(rows), weights.shape.size() > 1 ? weights.shape[1] : 1};
  for (std::size_t row = 0; row < rows; ++row) {
    const auto last = static_cast<std::size_t>(steps[row]);
    if (steps[row] < 0 || last > now) {
      fail_input("{}: tensor '{}' has step {} after the checkpoint's {}",
                 checkpoint.folder().string(), last_step.name, steps[row], now);
    }
    decay.keep[row] = static_cast<float>(std::exp(log_decay[now] - log_decay[last]));
  }
  return decay;
}

std::map<std::string, RowDecay, std::less<>> table_decays(const Checkpoint& checkpoint) {
  std::map<std::string, RowDecay, std::less<>> decays;
  const std::vector<double> log_decay = past_row_decay(checkpoint);
  if (log_decay.back() == 0) return decays;
  constexpr std::string_view suffix = ".last_step";
  for (const CheckpointSummary::File& file : checkpoint.summary().files) {
    for (const TensorInfo& tensor : file.tensors) {
      if (!tensor.name.ends_with(suffix)) continue;
      const std::string table = tensor.name.substr(0, tensor.name.size() - suffix.size());
      if (const TensorInfo* weights = checkpoint.find(table)) {
        const TensorInfo* last_step = checkpoint.find(tensor.name);  // whole, in an increment too
        decays.emplace(table, read_decay(checkpoint, *weights, *last_step, log_decay));
      }
    }
  }
  return decays;
}

// Beside the weights a checkpoint has what the optimizer remembers, in one file or in one of each
// rank; an increment has the tables' rows in files of their own, with both.
bool is_weight(const std::string& file, const std::string& tensor) {
  if (file == "optimizer.safetensors" || file.starts_with("optimizer-")) return false;
  for (const char* part : {".rows", ".first_moment", ".second_moment", ".last_step"}) {
    if (tensor.ends_with(part)) return false;
  }
  return true;
}

WeightReader checkpoint_weights(const ModelSource& source) {
  auto checkpoint = std::make_shared<Checkpoint>(source.folder);
  auto decays =
      std::make_shared<std::map<std::string, RowDecay, std::less<>>>(table_decays(*checkpoint));
  WeightReader reader;
  reader.where = source.folder.string();
  std::set<std::string> seen;  // each rank's file names the tables that are spread over them
  for (const CheckpointSummary::File& file : checkpoint->summary().files) {
    for (const TensorInfo& tensor : file.tensors) {
      if (!is_weight(file.name, tensor.name) || !seen.insert(tensor.name).second) continue;
      reader.names.push_back(tensor.name);
    }
  }
  reader.find = [checkpoint](std::string_view name) { return checkpoint->find(name); };
  reader.read = [checkpoint, decays](std::string_view name, std::uint64_t offset,
                                     std::span<std::byte> bytes) {
    checkpoint->read(name, offset, bytes);
    const auto decay = decays->find(name);
    if (decay == decays->end()) return;
    for (std::size_t at = 0; at + 4 <= bytes.size(); at += 4) {
      const std::uint64_t element = (offset + at) / 4;
      float weight = 0;
      std::memcpy(&weight, bytes.data() + at, 4);
      weight *= decay->second.keep[element / static_cast<std::uint64_t>(decay->second.columns)];
      std::memcpy(bytes.data() + at, &weight, 4);
    }
  };
  return reader;
}

}  // namespace

WeightReader open_weights(const ModelSource& source) {
  if (source.kind == ModelSource::Kind::checkpoint) return checkpoint_weights(source);
  auto file = std::make_shared<SafetensorsReader>(source.folder / "model.safetensors");
  std::vector<std::string> names;
  for (const TensorInfo& tensor : file->tensors()) names.push_back(tensor.name);
  return {source.folder.string(), names, [file](std::string_view name) { return file->find(name); },
          [file](std::string_view name, std::uint64_t offset, std::span<std::byte> bytes) {
            file->read(name, offset, bytes);
          }};
}

}  // namespace memengine
