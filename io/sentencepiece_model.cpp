// A reader of the few protobuf fields that matter (sentencepiece_model.proto), and word-wise BPE.
#include "io/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <string>

namespace memengine {
namespace {

constexpr std::string_view space_mark = "\xE2\x96\x81";  // U+2581

// Walks over the fields of one protobuf message. Anything malformed ends it with `good` false.
struct Fields {
  std::string_view rest = {};
  bool good = true;
  std::uint32_t number = 0;  // of the current field
  std::uint64_t value = 0;   // varint, or the bits of a fixed-size field
  std::string_view bytes;    // length-delimited

  bool next() {
    if (rest.empty() || !good) return false;
    const std::uint64_t tag = varint();
    number = static_cast<std::uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        value = fixed(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        value = fixed(4);
        break;
      default:
        good = false;
    }
    return good;
  }

 private:
  std::uint64_t varint() {
    std::uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest.empty()) break;
      const auto byte = static_cast<unsigned char>(rest.front());
      rest.remove_prefix(1);
      result |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return result;
    }
    good = false;
    return 0;
  }

  std::string_view take(std::uint64_t count) {
    if (count > rest.size()) {
      good = false;
      return {};
    }
    const auto taken = rest.substr(0, count);
    rest.remove_prefix(count);
    return taken;
  }

  std::uint64_t fixed(std::size_t size) {
    const auto taken = take(size);
    std::uint64_t bits = 0;
    std::memcpy(&bits, taken.data(), taken.size());
    return bits;
  }
};

struct Piece {
  std::string_view text;
  float score = 0;
  std::uint64_t type = 1;
  std::int32_t id = 0;
};
enum PieceType : std::uint64_t { normal = 1, unknown = 2, control = 3, byte_piece = 6 };

bool has_inner_space(std::string_view text) {
  while (text.starts_with(space_mark)) text.remove_prefix(space_mark.size());
  return text.find(space_mark) != text.npos;
}

}  // namespace

std::unique_ptr<SentencePieceBpe> SentencePieceBpe::parse(std::string_view model) {
  auto bpe = std::make_unique<SentencePieceBpe>();
  std::vector<Piece> pieces;
  std::int32_t id = 0;
  bool is_bpe = false, byte_fallback = false, changes_text = false, trims = true, escapes = true;
  bpe->byte_id_.fill(-1);
  Fields fields;
  fields.rest = model;
  while (fields.next()) {
    Fields inner;
    inner.rest = fields.bytes;
    if (fields.number == 1) {  // one piece
      Piece piece;
      while (inner.next()) {
        if (inner.number == 1) piece.text = inner.bytes;
        if (inner.number == 2)
          piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(inner.value));
        if (inner.number == 3) piece.type = inner.value;
      }
      piece.id = id++;
      if (piece.type == byte_piece) {
        unsigned value = 0;
        if (std::sscanf(std::string(piece.text).c_str(), "<0x%2X>", &value) != 1) return nullptr;
        bpe->byte_id_[value & 0xFF] = piece.id;
      } else if (piece.type == normal) {
        pieces.push_back(piece);
      } else if (piece.type != unknown && piece.type != control) {
        return nullptr;  // user-defined and unused pieces have rules of their own
      }
    } else if (fields.number == 2) {  // trainer_spec
      while (inner.next()) {
        if (inner.number == 3) is_bpe = inner.value == 2;
        if (inner.number == 24 && inner.value != 0) return nullptr;  // white space as a suffix
        if (inner.number == 35) byte_fallback = inner.value != 0;
      }
    } else if (fields.number == 3) {  // normalizer_spec
      while (inner.next()) {
        if (inner.number == 2) changes_text = !inner.bytes.empty();
        if (inner.number == 3) bpe->space_in_front_ = inner.value != 0;
        if (inner.number == 4) trims = inner.value != 0;
        if (inner.number == 5) escapes = inner.value != 0;
      }
    }
    if (!inner.good) return nullptr;
  }
  if (!fields.good || !is_bpe || !byte_fallback || changes_text || trims || !escapes)
    return nullptr;
  if (std::count(bpe->byte_id_.begin(), bpe->byte_id_.end(), -1) > 0) return nullptr;

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

void SentencePieceBpe::encode_append(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  std::string word;  // escaped: with U+2581 for each space; starts with all its white space
  std::vector<std::int32_t> merged;
  bool after_space = space_in_front_;
  if (space_in_front_) word = space_mark;
  while (!text.empty()) {
    const bool marked = text.starts_with(space_mark);  // the mark itself in the text counts as one
    if (marked || text.front() == ' ') {
      if (!after_space) {
        if (!word.empty()) encode_word(word, merged, ids);
        word.clear();
      }
      word += space_mark;
      text.remove_prefix(marked ? space_mark.size() : 1);
      after_space = true;
      continue;
    }
    // Up to the next space, or the next byte that may start a mark.
    std::size_t run = 1;
    while (run < text.size() && text[run] != ' ' && text[run] != space_mark[0]) ++run;
    word.append(text.substr(0, run));
    text.remove_prefix(run);
    after_space = false;
  }
  encode_word(word, merged, ids);
}

}  // namespace memengine
