// One pass of the text: its lookups, then its losses.
#include "engine/memory_probe/text_probe.h"

#include <algorithm>
#include <cmath>

#include "io/text/utf8.h"
#include "kernels/runtime/error.h"

namespace memengine {

std::string token_text(const Tokenizer& tokenizer, std::int32_t token) {
  return tokens_text(tokenizer, {token});
}

std::string tokens_text(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= tokenizer.vocab_size()) continue;
    const std::string bytes = tokenizer.token_bytes(token);
    if (!bytes.empty()) {
      text += bytes;
      continue;
    }
    for (const SpecialToken& special : tokenizer.special_tokens()) {
      if (special.id == token) text += special.text;
    }
  }
  return replace_invalid_utf8(text);
}

TextProbe probe_text(ProbeModel& model, const std::string& text, const RowUse* use) {
  const std::vector<std::int32_t> tokens = model.encode(text);
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::int64_t most = std::min(model.config().max_seqlen, model.model().size().tokens);
  if (text.empty() || count == 0) fail_input("the text is empty: give some words");
  if (count > most) {
    fail_input("the text has {} tokens, the model reads at most {}: give a shorter one", count,
               most);
  }
  ScoreRows rows;
  for (std::int64_t i = 0; i < count; ++i) {
    rows.tokens.push_back(tokens[static_cast<std::size_t>(i)]);
    rows.targets.push_back(i + 1 < count ? tokens[static_cast<std::size_t>(i + 1)] : -1);
    rows.positions.push_back(static_cast<std::int32_t>(i));
    rows.document_start.push_back(0);
  }
  const std::size_t memories = model.layers().size();
  const auto heads = static_cast<std::size_t>(model.heads());
  TextProbe probe;
  probe.tokens.resize(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    probe.tokens[i].token = tokens[i];
    probe.tokens[i].piece = token_text(model.tokenizer(), tokens[i]);
    probe.tokens[i].picks.resize(memories * heads);
  }
  read_lookups(model.model(), {.weights = true, .gate = false}, rows, [&](const LookupPass& pass) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      for (std::size_t list = 0; list < memories * heads; ++list) {
        const LayerLookup& lookup = pass.memories[list / heads];
        const auto head = static_cast<std::int64_t>(list % heads);
        const std::int64_t first = (static_cast<std::int64_t>(i) * pass.heads + head) * pass.knn;
        for (std::int64_t pick = first; pick < first + pass.knn; ++pick) {
          probe.tokens[i].picks[list].push_back({lookup.picks[pick], lookup.weights[pick]});
        }
      }
    }
  });
  if (count > 1) {
    std::vector<double> log_probabilities;
    std::vector<std::int32_t> best;
    model.model().score(rows, log_probabilities, best);
    for (std::size_t i = 1; i < tokens.size(); ++i) {
      probe.tokens[i].loss = -log_probabilities[i - 1];
    }
  }
  if (use == nullptr) return probe;
  for (std::size_t m = 0; m < memories; ++m) {
    const std::vector<std::uint64_t> reads = use->table_counts(m);
    double all = 0;
    for (const std::uint64_t count_of_row : reads) all += static_cast<double>(count_of_row);
    for (TextToken& token : probe.tokens) {
      double bits = 0;
      for (std::size_t head = 0; head < heads; ++head) {
        for (const PickedRow& pick : token.picks[m * heads + head]) {
          const auto of_row = static_cast<double>(reads[static_cast<std::size_t>(pick.row)]);
          bits += pick.weight * std::log2(std::max(all, 1.0) / std::max(of_row, 0.5));
        }
      }
      token.rarity_by_layer.push_back(bits / static_cast<double>(heads));
      token.rarity =
          token.rarity.value_or(0) + token.rarity_by_layer.back() / static_cast<double>(memories);
    }
  }
  return probe;
}

}  // namespace memengine
