// A text, token by token: the rows that each layer and head reads for it, and how rare they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/memory_probe/probe_model.h"
#include "engine/memory_probe/rows/row_use.h"

namespace memengine {

struct PickedRow {
  std::int64_t row = 0;
  float weight = 0;
};

struct TextToken {
  std::int32_t token = 0;
  std::string piece;  // the token's bytes, as UTF-8; control tokens by their name
  double loss = 0;    // of this token after those before it, nats; 0 for the first
  std::vector<std::vector<PickedRow>> picks;  // [memories * heads][knn], best first
  // How rare what it reads is, in bits: the mean over layers and heads of
  // sum_k weight_k log2(reads of all rows / reads of row_k). Rows that the corpus never reads count
  // as half a read.
  std::optional<double> rarity;
  std::vector<double> rarity_by_layer;  // [memories], where there is a corpus
};

struct TextProbe {
  std::vector<TextToken> tokens;
};

// Input error: no text, or one longer than the model reads. `use`: where rows are known to be read;
// null: rarities are left out.
TextProbe probe_text(ProbeModel& model, const std::string& text, const RowUse* use);

// The text of one token, for people: bytes that are no UTF-8 on their own as U+FFFD, control tokens
// by their names.
std::string token_text(const Tokenizer& tokenizer, std::int32_t token);
// Of several in a row.
std::string tokens_text(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens);

}  // namespace memengine
