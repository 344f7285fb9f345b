// Finds a model on disk: which folder a path means, and what the model in it is.
//
// Three kinds of folder hold a model:
//   checkpoint    of a training run: state.json, model.safetensors      io/checkpoints/checkpoint.h
//   exported      by `memengine export`: config.yaml, model.safetensors
//   hugging_face  of the Llama family: config.json, one or several .safetensors
// A run's dump_dir, or its checkpoints folder, means the newest checkpoint in it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "io/tokenizers/special_tokens.h"
#include "io/tokenizers/tokenizer.h"

namespace memengine {

struct ModelSource {
  enum class Kind { checkpoint, exported, hugging_face };

  Kind kind = Kind::checkpoint;
  std::filesystem::path folder;
  ModelConfig model;  // vocab_size is known; max_seqlen is the longest sequence it was made for
  std::optional<TokenizerConfig> tokenizer;
  bool tokenizer_is_replaced = false;  // it is not the model's own
  bool add_bos = true;                 // texts begin with BOS, where the tokenizer has one
  SpaceInFront space_in_front = SpaceInFront::every_part;  // as evaluation reads special tokens
  std::vector<std::int32_t> end_tokens;  // end a generation; none: the tokenizer's EOS does
  std::string half_precision;        // "BF16" or "F16": how the files hold the weights; or empty
  std::vector<std::string> notices;  // what a user should know of how it is read, a line each
  std::optional<RunConfig> run;      // of a checkpoint, or exported from one
  std::int64_t step = -1;            // of a checkpoint
};

// `tokenizer`, when not empty, replaces the model's own: the path of a tokenizer's file, or
// "bytes". Input errors: nothing there, several kinds at once, what the folder's reader refuses.
ModelSource find_model(const std::filesystem::path& path, const std::string& tokenizer = "");

// The model's tokenizer. Input errors: it has none, or a larger vocabulary than the model; in place
// of the model's own also one so small that the model cannot have been made with it (vocabularies
// are filled up to a multiple of 128 at most).
std::unique_ptr<Tokenizer> open_tokenizer(const ModelSource& source);

// The tokens that end a generation: the model's own, or the tokenizer's EOS.
std::vector<std::int32_t> end_tokens(const ModelSource& source, const Tokenizer& tokenizer);

// What kind of tokenizer a file holds, by its name, tokenizer.json, or by how it begins: a
// SentencePiece model is binary, a tokenizer.json is an object, tiktoken ranks are other text.
// "bytes" needs no file.
TokenizerConfig tokenizer_of_file(const std::string& path);

}  // namespace memengine
