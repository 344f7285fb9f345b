// SentencePiece models (`sp`): Llama 2's tokenizer and its kin, through libsentencepiece.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "io/tokenizers/tokenizer.h"

namespace memengine {

// Loads a SentencePiece .model file; anything else is an input error.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path);
// From the bytes of such a file; `where` names it in messages.
std::unique_ptr<Tokenizer> parse_sentencepiece(const std::string& where, const std::string& model);

}  // namespace memengine
