// Where a model's weights come from, under the reference's names.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model_files/model_source.h"
#include "io/checkpoints/safetensors.h"

namespace memengine {

struct WeightReader {
  std::string where;  // for messages
  // Of all weights.
  std::vector<std::string> names;
  // Null when absent.
  std::function<const TensorInfo*(std::string_view)> find;
  // Fills the bytes from a byte offset within the tensor.
  std::function<void(std::string_view, std::uint64_t, std::span<std::byte>)> read;
};

// What became of the tensors where a model may be given in part: tensors of the model that were in
// the files and that were not, and tensors of the files that have no place in the model, by their
// names there.
struct WeightsReport {
  std::vector<std::string> taken, fresh, left_over;
  std::int64_t numbers = 0;  // taken
};

// The weights of a checkpoint or an exported model. A checkpoint keeps value rows as their last
// update left them; where rows decay (value_weight_decay) they are read here as they are now, at
// the checkpoint's step: w * exp(log_decay[step] - log_decay[last update]).
WeightReader open_weights(const ModelSource& source);

}  // namespace memengine
