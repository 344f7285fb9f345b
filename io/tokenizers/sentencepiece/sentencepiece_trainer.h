// Training a SentencePiece tokenizer on one's own text, so that a run needs no downloaded model.
//
// The recipe is Llama 2's: BPE (Sennrich et al. 2016) on text as it is (no normalization), digits
// split, bytes as the fallback for rare characters, <unk> 0, <s> 1, </s> 2. One thread and no
// sampling: the same texts give the same file, byte for byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace memengine {

// How far a training has come: first texts are read, then pieces are found one after another.
struct SentencePieceProgress {
  std::int64_t text_bytes = 0;  // read
  int pieces = 0;               // found; 0 while texts are read
  bool finished = false;        // the last report
};

struct SentencePieceTraining {
  int vocab_size = 1024;     // pieces, the 3 control pieces and 256 bytes included
  bool split_digits = true;  // every digit a piece of its own
  double character_coverage =
      0.9999;                         // share of the characters that get pieces; the rest are bytes
  std::int64_t max_bytes = 32 << 20;  // text used: reading stops here, so give texts shuffled
  std::function<void(const SentencePieceProgress&)> progress;  // called from the calling thread
};

// Puts the next text in its argument; false when there is none.
using NextText = std::function<bool(std::string&)>;

// Trains on the texts and returns the model file's bytes. The vocabulary is smaller than asked for
// when the text has not that many pieces. Input errors: no text; a vocabulary too small for the
// characters that the coverage asks for. An exception that `next` throws is passed on.
std::string train_sentencepiece(const NextText& next, const SentencePieceTraining& options);

// The same, written to `path`, which appears or is replaced as a whole.
void train_sentencepiece_file(const NextText& next, const SentencePieceTraining& options,
                              const std::filesystem::path& path);

}  // namespace memengine
