// Byte-pair encoding by ranks: the merge loop of tiktoken.
//
// A piece starts as single bytes. Again and again the adjacent pair whose joined bytes have the
// lowest rank (the leftmost among equals) becomes one token, until no pair is in the vocabulary
// (bpe_merge.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

// The vocabulary: token bytes -> id in one open-addressing table, and id -> bytes.
class BpeVocabulary {
 public:
  // Adds token number size(). Returns false when the same bytes were added before.
  bool add(std::string_view bytes);

  // The id of `bytes`; -1 when they are not a token.
  std::int32_t find(std::string_view bytes) const;

  std::string_view bytes(std::int32_t id) const {
    const auto i = static_cast<std::size_t>(id);
    return std::string_view(text_).substr(starts_[i], starts_[i + 1] - starts_[i]);
  }
  std::int32_t size() const { return static_cast<std::int32_t>(starts_.size()) - 1; }

  // Appends the ids of one piece. Every single byte must be a token.
  void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const;

  // Gives every token a rank of its own choice; tokens may share one. Without this the id is it.
  void set_ranks(std::vector<std::uint32_t> ranks) { ranks_ = std::move(ranks); }

  // What a piece starts as. SentencePiece's BPE is the same merging, from characters.
  enum class Start { bytes, characters };

  // Merges, without looking for the whole piece first. A part that is no token in the end (a
  // character without an id) appends -1 - byte for each of its bytes.
  void merge(std::string_view piece, Start start, std::vector<std::int32_t>& ids) const;

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t id = -1;
  };
  std::uint32_t rank_of(std::int32_t id) const {
    if (id < 0 || ranks_.empty()) return static_cast<std::uint32_t>(id);  // -1: no rank
    return ranks_[static_cast<std::size_t>(id)];
  }
  void append_part(std::string_view part, std::vector<std::int32_t>& ids) const;
  void grow();

  std::string text_;                         // all tokens, one after the other
  std::vector<std::uint32_t> starts_ = {0};  // where token i starts; one more at the end
  std::vector<std::uint32_t> ranks_;         // by id; empty: the id is the rank
  std::vector<Slot> slots_;                  // a power of two, at most half full
  std::size_t longest_ = 0;                  // bytes of the longest token
};

}  // namespace memengine
