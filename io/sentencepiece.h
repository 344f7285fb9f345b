// SentencePiece models (`sp`): Llama 2's tokenizer and its kin, through libsentencepiece.
#pragma once

#include <filesystem>
#include <memory>

#include "io/tokenizer.h"

namespace memengine {

// Loads a SentencePiece .model file; anything else is an input error.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path);

}  // namespace memengine
