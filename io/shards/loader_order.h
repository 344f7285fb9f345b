// The order in which windows are drawn: pure functions of seed and counter, with no state to save.
#pragma once

#include <cstdint>
#include <vector>

namespace memengine {

// A random 64-bit number for (key, counter): the SplitMix64 generator read at any place.
std::uint64_t hash_counter(std::uint64_t key, std::uint64_t counter);

// A random permutation of 0 .. size-1 in O(1) memory: a four-round Feistel network over the next
// power of four, walked until it lands below `size` (at most four steps on average).
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t key);
  std::uint64_t operator()(std::uint64_t i) const;  // i < size

 private:
  std::uint64_t size_, key_;
  unsigned half_bits_;
};

// The windows of one source: shard s holds windows_of[s] of them.
class WindowOrder {
 public:
  struct Place {
    std::int64_t shard = 0, window = 0;
  };

  WindowOrder(std::vector<std::int64_t> windows_of, std::uint64_t key, bool shuffle);

  std::int64_t windows() const { return windows_; }  // one epoch

  // The place of the `drawn`-th draw (0, 1, ...): every window once an epoch, each epoch in another
  // order. Keeps the epoch's shard order between calls, so draws that go up are cheap.
  Place place(std::int64_t drawn);

 private:
  void start_epoch(std::int64_t epoch);

  std::vector<std::int64_t> windows_of_;
  std::uint64_t key_;
  bool shuffle_;
  std::int64_t windows_ = 0, epoch_ = -1;
  std::vector<std::int64_t> shards_, first_window_;  // this epoch's shards, and where each begins
  std::vector<Permutation> inside_;                  // this epoch's order inside each of them
};

// Picks a source for sequence g with probability proportional to its weight.
class SourceMixer {
 public:
  SourceMixer(const std::vector<double>& weights, std::uint64_t key);
  std::size_t pick(std::uint64_t g) const;

 private:
  std::vector<double> cumulative_;  // up to 1
  std::uint64_t key_;
};

}  // namespace memengine
