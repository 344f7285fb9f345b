// The table and the two merge loops. Unless told otherwise, rank and id are the same number; a
// pair's rank is one look-up of its joined bytes, which lie side by side in the piece.
#include "io/tokenizers/tiktoken/tiktoken_bpe.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <queue>

namespace memengine {
namespace {

constexpr std::uint32_t no_rank = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t short_piece = 64;  // bytes; the quadratic scan wins below this

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

void BpeVocabulary::merge(std::string_view piece, Start start,
                          std::vector<std::int32_t>& ids) const {
  piece.size() <= short_piece ? merge_short(piece, start, ids) : merge_long(piece, start, ids);
}

void BpeVocabulary::append_part(std::string_view part, std::vector<std::int32_t>& ids) const {
  if (const std::int32_t id = find(part); id >= 0) {
    ids.push_back(id);
    return;
  }
  for (const char byte : part) ids.push_back(-1 - static_cast<unsigned char>(byte));
}

void BpeVocabulary::merge_short(std::string_view piece, Start from,
                                std::vector<std::int32_t>& ids) const {
  // part[i] starts at byte start[i]; rank[i] is the rank of part i joined with part i + 1.
  std::uint32_t start[short_piece + 1], rank[short_piece + 1];
  std::size_t parts = 0;
  const auto pair_rank = [&](std::size_t i) {
    if (i + 1 >= parts) return no_rank;
    return rank_of(find(piece.substr(start[i], start[i + 2] - start[i])));
  };
  for (std::size_t i = 0; i < piece.size(); ++i) {
    if (starts_part(piece, i, from)) start[parts++] = static_cast<std::uint32_t>(i);
  }
  start[parts] = static_cast<std::uint32_t>(piece.size());
  for (std::size_t i = 0; i < parts; ++i) rank[i] = pair_rank(i);
  while (parts > 1) {
    const std::size_t best = static_cast<std::size_t>(std::min_element(rank, rank + parts) - rank);
    if (rank[best] == no_rank) break;
    std::copy(start + best + 2, start + parts + 1, start + best + 1);
    std::copy(rank + best + 2, rank + parts, rank + best + 1);
    --parts;
    rank[best] = pair_rank(best);
    if (best > 0) rank[best - 1] = pair_rank(best - 1);
  }
  for (std::size_t i = 0; i < parts; ++i) {
    append_part(piece.substr(start[i], start[i + 1] - start[i]), ids);
  }
}

void BpeVocabulary::merge_long(std::string_view piece, Start from,
                               std::vector<std::int32_t>& ids) const {
  // Part i starts at byte i and ends where the next living part starts; a part that was merged into
  // the one before it has next 0. A heap entry is stale when its pair has changed since.
  const auto bytes_in_piece = static_cast<std::uint32_t>(piece.size());
  std::vector<std::uint32_t> next(bytes_in_piece), previous(bytes_in_piece);
  std::vector<std::uint32_t> rank(bytes_in_piece, no_rank);
  using Entry = std::pair<std::uint32_t, std::uint32_t>;  // rank, start of the left part
  std::vector<Entry> entries;
  entries.reserve(bytes_in_piece);
  const auto pair_rank = [&](std::uint32_t i) {
    const std::uint32_t right = next[i];
    if (right == bytes_in_piece) return no_rank;
    return rank_of(find(piece.substr(i, next[right] - i)));
  };
  for (std::uint32_t i = 0, end; i < bytes_in_piece; i = end) {
    for (end = i + 1; end < bytes_in_piece && !starts_part(piece, end, from);) ++end;
    next[i] = end;
    if (end < bytes_in_piece) previous[end] = i;
  }
  for (std::uint32_t i = 0; i < bytes_in_piece; i = next[i]) {
    rank[i] = pair_rank(i);
    if (rank[i] != no_rank) entries.emplace_back(rank[i], i);
  }
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap({}, std::move(entries));
  const auto renew = [&](std::uint32_t i) {
    rank[i] = pair_rank(i);
    if (rank[i] != no_rank) heap.emplace(rank[i], i);
  };
  while (!heap.empty()) {
    const auto [best, left] = heap.top();
    heap.pop();
    if (rank[left] != best) continue;
    const std::uint32_t right = next[left];
    next[left] = next[right];
    if (next[left] < bytes_in_piece) previous[next[left]] = left;
    next[right] = 0;
    rank[right] = no_rank;
    renew(left);
    if (left > 0) renew(previous[left]);
  }
  for (std::uint32_t i = 0; i < bytes_in_piece; i = next[i]) {
    append_part(piece.substr(i, next[i] - i), ids);
  }
}

}  // namespace memengine
