// Between a model's memory and files: which tensors a checkpoint holds, and how they stream.
//
// model.safetensors has the weights under the reference's names, in FP32, value tables included;
// optimizer.safetensors has both moments of every weight, the step of each row's last update, how
// many rows were ever used, the number of updates done, and what of the rows decayed in each.
// Value tables are put together and taken apart on the way (table_columns.h). An increment has
// rows.safetensors beside these, with the rows of each table that were updated since its base, and
// leaves the tables out of the other two.
//
// Several ranks (the context's) write together: rank 0 model.safetensors without the tables, each
// its rows of them in table-<rank>-of-<ranks>.safetensors or, of an increment,
// rows-<rank>-of-<ranks>.safetensors, and in optimizer-<rank>-of-<ranks>.safetensors the moments
// that it alone has (distributed.zero1) and its share of the rest of the optimizer's tensors, which
// all have. All ranks call each function together.
#pragma once

#include <optional>
#include <vector>

#include "engine/model_files/weight_reader.h"
#include "io/checkpoints/checkpoint.h"
#include "kernels/runtime/context.h"
#include "model/transformer.h"
#include "optim/optimizer.h"

namespace memengine {

// model.safetensors, and optimizer.safetensors when `optimizer` is given. The tensors refer to the
// model, which must not change until they are written.
std::vector<CheckpointFile> model_files(const Context& context, const Transformer& transformer,
                                        const Optimizer* optimizer);

struct IncrementFiles {
  std::vector<CheckpointFile> files;
  Increment increment;
};

// What to write instead of everything, after a full checkpoint `base` of this same run: the table
// rows updated since. None when they would take more than `most_share` of the whole tables. Only
// for optimizers that leave rows which are not picked as they are.
std::optional<IncrementFiles> increment_files(const Context& context,
                                              const Transformer& transformer,
                                              const Optimizer& optimizer,
                                              const CheckpointBase& base, double most_share);

// Reads everything back, verified once, on several threads. Input error when a tensor is missing or
// has another shape.
void load_model_files(const Context& context, const Checkpoint& checkpoint,
                      Transformer& transformer, const Optimizer* optimizer);

// The weights alone, for inference. With `report` the model may be given in part: what is not there
// is left as it is, and told.
void load_weights(const Context& context, const WeightReader& reader, Transformer& transformer,
                  WeightsReport* report = nullptr);

}  // namespace memengine
