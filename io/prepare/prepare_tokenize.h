// Pass 1 of prepare: texts to spilled token records, by many threads, with a journal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/prepare/prepare.h"

namespace memengine {

// How far pass 1 has come; what the journal holds.
struct TokenizePass {
  int bits = 0;  // of the key that name the spill file
  TextPosition position;
  std::int64_t ordinal = 0;    // number of the next document
  std::int64_t documents = 0;  // spilled: those with at least one token
  std::int64_t tokens = 0, text_bytes = 0, bad_lines = 0;
  std::vector<std::int64_t> lengths;  // of the spill files
  bool complete = false;
  std::vector<std::string> problems, notices;  // of this run; not in the journal
};

// Tokenizes `inputs` into spill files in `folder`, going on where a journal with the same
// `fingerprint` stands there. Returns with complete == false when options.stop said so.
TokenizePass tokenize_inputs(const PrepareOptions& options, const std::string& source,
                             const std::string& phase, const std::filesystem::path& folder,
                             const std::vector<std::filesystem::path>& inputs,
                             const std::string& fingerprint);

}  // namespace memengine
