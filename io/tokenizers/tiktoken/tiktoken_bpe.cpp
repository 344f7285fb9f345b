// The table, and merging by it. Unless told otherwise, rank and id are the same number; a
// pair's rank is one look-up of its joined bytes, which lie side by side in the piece.
#include "io/tokenizers/tiktoken/tiktoken_bpe.h"

#include <xxhash.h>

#include <algorithm>

#include "io/tokenizers/bpe_merge.h"

namespace memengine {
namespace {

// Whether a part starts at byte `i`: every byte, or every byte that does not continue a character.
bool starts_part(std::string_view piece, std::size_t i, BpeVocabulary::Start from) {
  return from == BpeVocabulary::Start::bytes || i == 0 ||
         (static_cast<unsigned char>(piece[i]) & 0xC0) != 0x80;
}

}  // namespace

bool BpeVocabulary::add(std::string_view bytes) {
  if (slots_.size() < 2 * (starts_.size() + 1)) grow();
  if (find(bytes) >= 0) return false;
  const std::uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  std::size_t i = hash & (slots_.size() - 1);
  while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {static_cast<std::uint32_t>(hash >> 32), size()};
  text_ += bytes;
  starts_.push_back(static_cast<std::uint32_t>(text_.size()));
  longest_ = std::max(longest_, bytes.size());
  return true;
}

void BpeVocabulary::grow() {
  slots_.assign(std::max<std::size_t>(1024, 2 * slots_.size()), {});
  for (std::int32_t id = 0; id < size(); ++id) {
    const std::uint64_t hash = XXH3_64bits(bytes(id).data(), bytes(id).size());
    std::size_t i = hash & (slots_.size() - 1);
    while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {static_cast<std::uint32_t>(hash >> 32), id};
  }
}

std::int32_t BpeVocabulary::find(std::string_view token) const {
  if (token.size() > longest_ || slots_.empty()) return -1;
  const std::uint64_t hash = XXH3_64bits(token.data(), token.size());
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t i = hash & (slots_.size() - 1); slots_[i].id >= 0;
       i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].hash == tag && bytes(slots_[i].id) == token) return slots_[i].id;
  }
  return -1;
}

void BpeVocabulary::encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (const std::int32_t whole = find(piece); whole >= 0) {
    ids.push_back(whole);  // by far the most frequent case
  } else {
    merge(piece, Start::bytes, ids);
  }
}

void BpeVocabulary::merge(std::string_view piece, Start from,
                          std::vector<std::int32_t>& ids) const {
  thread_local BpeParts parts;
  constexpr std::int32_t not_looked_up = -2;
  parts.clear();
  for (std::size_t i = 0; i < piece.size(); ++i) {
    if (starts_part(piece, i, from)) parts.add(i, not_looked_up);
  }
  parts.start.push_back(static_cast<std::uint32_t>(piece.size()));
  merge_parts(parts, [&](std::int32_t, std::int32_t, std::uint32_t begin, std::uint32_t end) {
    const std::int32_t id = find(piece.substr(begin, end - begin));
    return BpeJoin{rank_of(id), id};
  });
  for (std::size_t i = 0; i < parts.id.size(); ++i) {
    if (parts.id[i] >= 0) {
      ids.push_back(parts.id[i]);
    } else {
      append_part(piece.substr(parts.start[i], parts.start[i + 1] - parts.start[i]), ids);
    }
  }
}

void BpeVocabulary::append_part(std::string_view part, std::vector<std::int32_t>& ids) const {
  if (const std::int32_t id = find(part); id >= 0) {
    ids.push_back(id);
    return;
  }
  for (const char byte : part) ids.push_back(-1 - static_cast<unsigned char>(byte));
}

}  // namespace memengine
