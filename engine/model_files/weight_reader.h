// Where a model's weights come from, under the reference's names.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "engine/model_files/model_source.h"
#include "io/checkpoints/safetensors.h"

namespace memengine {

struct WeightReader {
  std::string where;  // for messages
  // Null when absent.
  std::function<const TensorInfo*(std::string_view)> find;
  // Fills the bytes from a byte offset within the tensor.
  std::function<void(std::string_view, std::uint64_t, std::span<std::byte>)> read;
};

// The weights of a checkpoint or an exported model. A checkpoint keeps value rows as their last
// update left them; where rows decay (value_weight_decay) they are read here as they are now, at
// the checkpoint's step: w * exp(log_decay[step] - log_decay[last update]).
WeightReader open_weights(const ModelSource& source);

}  // namespace memengine
