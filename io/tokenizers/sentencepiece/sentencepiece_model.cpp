// Which models qualify, and word-wise BPE.
#include "io/tokenizers/sentencepiece/sentencepiece_model.h"

#include <algorithm>
#include <string>

#include "io/tokenizers/sentencepiece/sentencepiece_proto.h"

namespace memengine {
namespace {

struct Piece {
  std::string_view text;
  float score = 0;
  std::int32_t id = 0;
};

bool has_inner_space(std::string_view text) {
  while (text.starts_with(sentencepiece_space)) text.remove_prefix(sentencepiece_space.size());
  return text.find(sentencepiece_space) != text.npos;
}

}  // namespace

std::unique_ptr<SentencePieceBpe> SentencePieceBpe::parse(std::string_view model) {
  const auto proto = parse_sentencepiece_proto(model);
  if (!proto || proto->model_type != SentencePieceProto::bpe || !proto->byte_fallback ||
      proto->space_as_suffix || !proto->character_map.empty() || proto->trims || !proto->escapes) {
    return nullptr;
  }
  const auto byte_ids = proto->byte_ids();
  if (!byte_ids) return nullptr;
  auto bpe = std::make_unique<SentencePieceBpe>();
  std::copy(byte_ids->begin(), byte_ids->end(), bpe->byte_id_.begin());
  bpe->space_in_front_ = proto->space_in_front;
  std::vector<Piece> pieces;
  for (std::size_t id = 0; id < proto->pieces.size(); ++id) {
    const auto& [text, score, type] = proto->pieces[id];
    if (type == SentencePieceProto::user_defined || type == SentencePieceProto::unused) {
      return nullptr;  // they have rules of their own
    }
    if (type == SentencePieceProto::normal) {
      pieces.push_back({text, score, static_cast<std::int32_t>(id)});
    }
  }

  // Pieces of one score share a rank: the leftmost pair goes first, as in the library.
  for (const Piece& piece : pieces) {
    if (has_inner_space(piece.text)) return nullptr;
  }
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.score > b.score; });
  std::vector<std::uint32_t> ranks;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool tie = i > 0 && pieces[i].score == pieces[i - 1].score;
    ranks.push_back(tie ? ranks.back() : static_cast<std::uint32_t>(i));
  }
  for (const Piece& piece : pieces) {
    if (piece.text.empty() || !bpe->vocabulary_.add(piece.text)) return nullptr;
    bpe->id_of_.push_back(piece.id);
  }
  bpe->vocabulary_.set_ranks(std::move(ranks));
  std::vector<std::int32_t> merged;
  for (std::int32_t rank = 0; rank < bpe->vocabulary_.size(); ++rank) {
    merged.clear();
    bpe->vocabulary_.merge(bpe->vocabulary_.bytes(rank), BpeVocabulary::Start::characters, merged);
    bpe->reachable_.push_back(merged.size() == 1 && merged[0] == rank);
  }
  return bpe;
}

void SentencePieceBpe::encode_word(std::string_view word, std::vector<std::int32_t>& merged,
                                   std::vector<std::int32_t>& ids) const {
  if (const std::int32_t rank = vocabulary_.find(word);
      rank >= 0 && reachable_[static_cast<std::size_t>(rank)]) {
    ids.push_back(id_of_[static_cast<std::size_t>(rank)]);
    return;
  }
  merged.clear();
  vocabulary_.merge(word, BpeVocabulary::Start::characters, merged);
  for (const std::int32_t rank : merged) {
    ids.push_back(rank >= 0 ? id_of_[static_cast<std::size_t>(rank)]
                            : byte_id_[static_cast<std::size_t>(-1 - rank)]);
  }
}

void SentencePieceBpe::encode_append(std::string_view text, std::vector<std::int32_t>& ids,
                                     bool continues) const {
  if (text.empty()) return;
  std::string word;  // escaped: with U+2581 for each space; starts with all its white space
  std::vector<std::int32_t> merged;
  bool after_space = space_in_front_ && !continues;
  if (after_space) word = sentencepiece_space;
  while (!text.empty()) {
    const bool marked =
        text.starts_with(sentencepiece_space);  // the mark itself in the text counts as one
    if (marked || text.front() == ' ') {
      if (!after_space) {
        if (!word.empty()) encode_word(word, merged, ids);
        word.clear();
      }
      word += sentencepiece_space;
      text.remove_prefix(marked ? sentencepiece_space.size() : 1);
      after_space = true;
      continue;
    }
    // Up to the next space, or the next byte that may start a mark.
    std::size_t run = 1;
    while (run < text.size() && text[run] != ' ' && text[run] != sentencepiece_space[0]) ++run;
    word.append(text.substr(0, run));
    text.remove_prefix(run);
    after_space = false;
  }
  encode_word(word, merged, ids);
}

}  // namespace memengine
