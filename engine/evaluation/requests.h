// From texts to token requests, by the harness's rules.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/evaluation/language_model.h"

namespace memengine {

// Text to ids, with BOS in front where the model's tokenizer adds it by default. Safe from many
// threads.
using EncodeText = std::function<std::vector<std::int32_t>(std::string_view)>;

// One request a continuation, all after the same context. Spaces at the context's end move to the
// continuation's front (words are tokenized with the space before them); the continuation's tokens
// are those of context + continuation beyond as many as the context alone has. What exceeds
// max_length + 1 tokens is cut from the left of the context.
//
// `where` ("file:line") begins the errors, `key_prefix` the keys that they name: a continuation of
// no token, or of more than max_length; a context without tokens.
std::vector<LoglikelihoodRequest> encode_pairs(const EncodeText& encode, std::string_view context,
                                               const std::vector<std::string>& continuations,
                                               int max_length, std::string_view where,
                                               std::string_view key_prefix = {});

// The prompt's tokens, cut from the left to leave room for max_gen_tokens within max_length. Input
// error when there is no room at all.
GenerationRequest encode_prompt(const EncodeText& encode, std::string_view prompt,
                                const std::vector<std::string>& until, int max_gen_tokens,
                                int max_length, std::string_view key_prefix = {});

}  // namespace memengine
