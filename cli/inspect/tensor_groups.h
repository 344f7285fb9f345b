// The tensors of a file in a few lines: equal layers are one line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/checkpoints/safetensors.h"

namespace memengine {

struct TensorGroup {
  std::string name;  // "layers.0-3,7.attention", or a tensor's own
  std::string what;  // "5 x 4 tensors", or a tensor's type and shape
  std::uint64_t bytes = 0;
};

// One tensor as a group: its own name, dtype and shape.
TensorGroup group_of(const TensorInfo& tensor);

// Tensors of one part of a layer ("layers.3.attention") make one group, of one part of the model
// otherwise ("tok_embeddings"); layers whose part has the same tensors share a line. Value tables
// stay apart, because they are what one wants to see.
std::vector<TensorGroup> tensor_groups(const std::vector<TensorInfo>& tensors);

}  // namespace memengine
