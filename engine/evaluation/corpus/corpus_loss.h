// The loss of a model on windows of tokens, as validation measures it.
#pragma once

#include "engine/evaluation/corpus/token_windows.h"
#include "engine/evaluation/evaluate.h"

namespace memengine {

// Fills in samples (one a window), metrics and the documents of a task of kind `loss`:
//
//   loss            nats per target token; its standard error is that of the windows' losses,
//                   weighted by their tokens
//   perplexity      e to the loss
//   bits_per_byte   of the text, where all of it was read and its length is known
//
// `most` windows are read at most. A fixed number of windows is in memory at a time.
void measure_loss(LanguageModel& model, TokenWindows& windows, std::size_t most,
                  EvalTaskResult& result, const EvalProgress& progress);

}  // namespace memengine
