// tokenizer.json, the form of huggingface/tokenizers: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM)
// and SentencePiece-style BPE (Metaspace, byte fallback: Llama 2, Mistral, TinyLlama).
//
// Ids equal that library's. What it has beyond (Unigram, WordPiece, other normalizers, ...) is
// refused by name. docs/tokenizers_and_models.md lists the parts. Truncation and padding, which are
// wishes of a caller, are passed over.
//
// Which token is BOS and which EOS the file does not say: tokenizer_config.json beside it does
// (bos_token, eos_token); without one, what the post-processor puts in front and at the end; and
// then the first special token of a usual name.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "io/tokenizers/tokenizer.h"

namespace memengine {

inline constexpr const char* tokenizer_json_name = "tokenizer.json";
inline constexpr const char* tokenizer_config_name = "tokenizer_config.json";

// Loads a tokenizer.json, and the tokenizer_config.json beside it, if there is one.
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::filesystem::path& path);

// The same from the bytes of both (`config` may be empty); `where` names the first in messages.
std::unique_ptr<Tokenizer> parse_tokenizer_json(const std::string& where, std::string_view json,
                                                std::string_view config);

// Whether its texts begin with BOS: what add_bos_token of tokenizer_config.json says, or else
// whether the post-processor puts a token in front.
bool tokenizer_json_adds_bos(const std::filesystem::path& path);

}  // namespace memengine
