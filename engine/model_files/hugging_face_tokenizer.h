// A tokenizer in Hugging Face's form: tokenizer.json, which says all, and tokenizer_config.json.
//
// Their libraries then give a text the ids that ours gives it, BOS included, with no other package.
// tokenizer.json is written for SentencePiece's BPE models, tiktoken ranks and bytes; of a
// SentencePiece model of another kind their library reads tokenizer.model itself.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "io/tokenizers/special_tokens.h"
#include "io/tokenizers/tokenizer.h"

namespace memengine {

struct HuggingFaceTokenizer {
  std::string config;               // of tokenizer_config.json
  std::optional<std::string> json;  // of tokenizer.json
};

// `model_file`: the bytes of the tokenizer's own file (empty for bytes). `add_bos`: texts begin
// with BOS. `max_length`: the longest text of the model, in tokens.
HuggingFaceTokenizer hugging_face_tokenizer(const Tokenizer& tokenizer,
                                            const std::string& model_file, bool add_bos,
                                            std::int64_t max_length);

// What a tokenizer_config.json says that we need; what it does not say is as if it were not there.
struct TokenizerSettings {
  bool add_bos = true;
  SpaceInFront space = SpaceInFront::every_part;
  bool is_bytes = false;  // written by us for a model that reads bytes
};
TokenizerSettings read_tokenizer_settings(const std::filesystem::path& tokenizer_config);

}  // namespace memengine
