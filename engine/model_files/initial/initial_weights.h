// Where a new run's weights come from: any model, as far as it goes.
//
// Each tensor of the run's model that the given one has too, under the same name and in the same
// shape, is taken. What it lacks keeps its fresh random values; a memory layer beside the
// feed-forward that it lacks begins silent, so that the model computes at first what the given one
// does, to the last bit. What is taken, what is new and what was left over is said.
#pragma once

#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/model_files/model_source.h"
#include "kernels/runtime/context.h"
#include "model/transformer.h"

namespace memengine {

// Into a model that is initialised. Returns sentences to say. Input errors: a model of another size
// (with the keys that make it the same) or a tensor of another shape, nothing to take, a tied output for a model that has its own, and optim.train=values where
// a layer's output projection is zero, so that its values would never have a gradient.
std::vector<std::string> load_initial_weights(const Context& context, const RunConfig& config,
                                              const ModelSource& source, Transformer& transformer);

}  // namespace memengine
