// The merge loop of byte-pair encoding, for vocabularies that name their merges in either way: by
// the joined bytes (tiktoken, SentencePiece) or by the pair of tokens (tokenizer.json).
//
// Again and again the adjacent pair of the lowest rank (the leftmost among equals) becomes one
// part, until no pair has a rank. Words are short, so a plain scan for the minimum is fastest; a
// long piece (a line of dashes, a megabyte without a space) goes through a heap over a linked list:
// O(n log n).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

namespace memengine {

inline constexpr std::uint32_t no_bpe_rank = std::numeric_limits<std::uint32_t>::max();

// What two neighbours become, and how early; without a rank they stay two.
struct BpeJoin {
  std::uint32_t rank = no_bpe_rank;
  std::int32_t id = -1;
};

// The parts of a piece: part i is bytes start[i] to start[i + 1], and token id[i].
struct BpeParts {
  std::vector<std::uint32_t> start;  // one more than parts
  std::vector<std::int32_t> id;

  void clear() { start.clear(), id.clear(); }
  void add(std::size_t begin, std::int32_t token) {
    start.push_back(static_cast<std::uint32_t>(begin)), id.push_back(token);
  }
};

inline constexpr std::size_t few_bpe_parts = 64;  // the quadratic scan wins up to this many

template <typename Joined>
void merge_few_parts(BpeParts& parts, const Joined& joined) {
  std::uint32_t rank[few_bpe_parts];
  std::int32_t made[few_bpe_parts];
  std::size_t count = parts.id.size();
  std::uint32_t* start = parts.start.data();
  std::int32_t* id = parts.id.data();
  const auto look = [&](std::size_t i) {
    const BpeJoin join =
        i + 1 < count ? joined(id[i], id[i + 1], start[i], start[i + 2]) : BpeJoin();
    rank[i] = join.rank;
    made[i] = join.id;
  };
  for (std::size_t i = 0; i < count; ++i) look(i);
  while (count > 1) {
    const auto best = static_cast<std::size_t>(std::min_element(rank, rank + count) - rank);
    if (rank[best] == no_bpe_rank) break;
    id[best] = made[best];
    std::copy(start + best + 2, start + count + 1, start + best + 1);
    std::copy(id + best + 2, id + count, id + best + 1);
    std::copy(rank + best + 2, rank + count, rank + best + 1);
    std::copy(made + best + 2, made + count, made + best + 1);
    --count;
    look(best);
    if (best > 0) look(best - 1);
  }
  parts.id.resize(count);
  parts.start.resize(count + 1);
}

template <typename Joined>
void merge_many_parts(BpeParts& parts, const Joined& joined) {
  // A part that was merged into the one before it has next 0. A heap entry is stale when its pair
  // has changed since.
  const auto count = static_cast<std::uint32_t>(parts.id.size());
  std::vector<std::uint32_t> next(count), previous(count), rank(count, no_bpe_rank);
  std::vector<std::int32_t> made(count, -1);
  using Entry = std::pair<std::uint32_t, std::uint32_t>;  // rank, the left part
  std::vector<Entry> entries;
  entries.reserve(count);
  const auto look = [&](std::uint32_t i) {
    const std::uint32_t right = next[i];
    const BpeJoin join = right == count ? BpeJoin()
                                        : joined(parts.id[i], parts.id[right], parts.start[i],
                                                 parts.start[next[right]]);
    rank[i] = join.rank;
    made[i] = join.id;
    return join.rank != no_bpe_rank;
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (look(i)) entries.emplace_back(rank[i], i);
  }
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap({}, std::move(entries));
  while (!heap.empty()) {
    const auto [best, left] = heap.top();
    heap.pop();
    if (rank[left] != best) continue;
    const std::uint32_t right = next[left];
    parts.id[left] = made[left];
    next[left] = next[right];
    if (next[left] < count) previous[next[left]] = left;
    next[right] = 0;
    rank[right] = no_bpe_rank;
    if (look(left)) heap.emplace(rank[left], left);
    if (left > 0 && look(previous[left])) heap.emplace(rank[previous[left]], previous[left]);
  }
  std::size_t kept = 0;
  const std::uint32_t end = parts.start[count];
  for (std::uint32_t i = 0; i < count; i = next[i]) {
    parts.id[kept] = parts.id[i];
    parts.start[kept++] = parts.start[i];
  }
  parts.id.resize(kept);
  parts.start.resize(kept + 1);
  parts.start[kept] = end;
}

// joined(left id, right id, begin, end of their bytes) -> BpeJoin. The last start is the end.
template <typename Joined>
void merge_parts(BpeParts& parts, const Joined& joined) {
  if (parts.id.size() <= few_bpe_parts) {
    merge_few_parts(parts, joined);
  } else {
    merge_many_parts(parts, joined);
  }
}

}  // namespace memengine
