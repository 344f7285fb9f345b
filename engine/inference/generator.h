// Continues texts token by token, many at once.
//
// Prompts of any length share passes: every pass has one row for each text that is being continued,
// and fills what is left of its N rows with parts of prompts still to be read. A text that is done
// makes room for the next prompt at once, so the cache is always full of texts that need it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/inference/inference_model.h"
#include "engine/inference/sampling.h"
#include "io/tokenizers/tokenizer.h"

namespace memengine {

struct GenerationPrompt {
  std::vector<std::int32_t> tokens;  // not empty, at most max_length()
  std::int64_t max_new_tokens = 0;
  std::vector<std::string> until;  // stop strings
};

struct Generation {
  enum class End { end_of_sequence, stop_string, max_tokens, context_full, interrupted };

  std::vector<std::int32_t> tokens;  // without the end-of-sequence token
  End end = End::max_tokens;
};

// Called with each new token (never the end-of-sequence token) of prompt `index`; returning false
// ends that text.
using OnToken = std::function<bool(std::size_t index, std::int32_t token)>;
// Called when prompt `index` is done.
using OnDone = std::function<void(std::size_t index)>;

class Generator {
 public:
  // Both outlive the generator. The model has caches. A text ends at any of `end_tokens`.
  Generator(InferenceModel& model, const Tokenizer& tokenizer,
            std::vector<std::int32_t> end_tokens);
  // It ends at the tokenizer's EOS.
  Generator(InferenceModel& model, const Tokenizer& tokenizer)
      : Generator(model, tokenizer, {tokenizer.eos_id()}) {}

  // The longest text, prompt and continuation together.
  std::int64_t max_length() const { return model_.size().cache_length; }

  // One continuation a prompt, in the prompts' order. The draws of a text depend on the seed, its
  // index and the token's number only, never on what else is in the batch. A text ends at an
  // end-of-sequence token, once its new text holds a stop string (which stays in), after
  // max_new_tokens, or when the model's context is full. Input errors: a prompt that is empty or
  // longer than the context, an empty stop string, what check() refuses of the sampling. They are
  // found before the first token is made.
  std::vector<Generation> generate(std::span<const GenerationPrompt> prompts,
                                   const SamplingOptions& sampling, const OnToken& on_token = {},
                                   const OnDone& on_done = {});

 private:
  struct Text;

  InferenceModel& model_;
  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> end_tokens_;
  Sampler sampler_;
};

}  // namespace memengine
