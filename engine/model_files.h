// Between a model's memory and files: which tensors a checkpoint holds, and how they stream.
//
// model.safetensors has the weights under the reference's names, in FP32, value tables included;
// optimizer.safetensors has both moments of every weight, the step of each row's last update, how
// many rows were ever used, and the number of updates done.
// Value tables are split in halves and records in memory (kernels/value_rows.h), so their tensors
// are put together and taken apart block by block on the way.
#pragma once

#include <vector>

#include "engine/runtime/context.h"
#include "engine/weight_reader.h"
#include "io/checkpoint.h"
#include "model/transformer.h"
#include "optim/optimizer.h"

namespace memengine {

// model.safetensors, and optimizer.safetensors when `optimizer` is given. The tensors refer to the
// model, which must not change until they are written.
std::vector<CheckpointFile> model_files(const Context& context, const Transformer& transformer,
                                        const Optimizer* optimizer);

// Reads everything back. Input error when a tensor is missing or has another shape.
void load_model_files(const Context& context, const Checkpoint& checkpoint,
                      Transformer& transformer, const Optimizer* optimizer);

// The weights alone, for inference.
void load_weights(const Context& context, const WeightReader& reader, Transformer& transformer);

}  // namespace memengine
