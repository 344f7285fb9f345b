// A Feistel network permutes whatever its round function is: (l, r) -> (r, l xor f(r)) can be
// undone. Numbers at or above `size` are permuted again until they fall below it ("cycle walking"),
// which keeps it a permutation of 0 .. size-1.
#include "io/shards/loader_order.h"

#include <algorithm>
#include <numeric>

namespace memengine {
namespace {

constexpr std::uint64_t epoch_salt = 0x65706F6368ull;

}  // namespace

std::uint64_t hash_counter(std::uint64_t key, std::uint64_t counter) {
  // The key passes the mixer too, so that neighbouring keys give unrelated sequences.
  const auto mix = [](std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  };
  constexpr std::uint64_t golden = 0x9E3779B97F4A7C15ull;
  return mix(mix(key + golden) + golden * (counter + 1));
}

Permutation::Permutation(std::uint64_t size, std::uint64_t key)
    : size_(size), key_(key), half_bits_(1) {
  while (half_bits_ < 31 && (std::uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
}

std::uint64_t Permutation::operator()(std::uint64_t i) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    std::uint64_t left = i >> half_bits_, right = i & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t mixed = hash_counter(key_ + round, right) & mask;
      const std::uint64_t next = left ^ mixed;
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= size_);
  return i;
}

WindowOrder::WindowOrder(std::vector<std::int64_t> windows_of, std::uint64_t key, bool shuffle)
    : windows_of_(std::move(windows_of)),
      key_(key),
      shuffle_(shuffle),
      windows_(std::accumulate(windows_of_.begin(), windows_of_.end(), std::int64_t{0})) {}

void WindowOrder::start_epoch(std::int64_t epoch) {
  epoch_ = epoch;
  const std::uint64_t epoch_key =
      hash_counter(key_ ^ epoch_salt, static_cast<std::uint64_t>(epoch));
  const Permutation shard_order(windows_of_.size(), epoch_key);
  shards_.clear();
  first_window_.clear();
  inside_.clear();
  std::int64_t first = 0;
  for (std::size_t i = 0; i < windows_of_.size(); ++i) {
    const std::size_t shard = shuffle_ ? shard_order(i) : i;
    shards_.push_back(static_cast<std::int64_t>(shard));
    first_window_.push_back(first);
    inside_.emplace_back(static_cast<std::uint64_t>(windows_of_[shard]),
                         hash_counter(epoch_key, shard));
    first += windows_of_[shard];
  }
}

WindowOrder::Place WindowOrder::place(std::int64_t drawn) {
  if (drawn / windows_ != epoch_) start_epoch(drawn / windows_);
  const std::int64_t in_epoch = drawn % windows_;
  // The last shard that begins at or before this draw; shards without a window are passed over.
  const auto after = std::upper_bound(first_window_.begin(), first_window_.end(), in_epoch);
  const auto i = static_cast<std::size_t>(after - first_window_.begin()) - 1;
  const auto in_shard = static_cast<std::uint64_t>(in_epoch - first_window_[i]);
  return {shards_[i], static_cast<std::int64_t>(shuffle_ ? inside_[i](in_shard) : in_shard)};
}

SourceMixer::SourceMixer(const std::vector<double>& weights, std::uint64_t key) : key_(key) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  double up_to = 0;
  for (const double weight : weights) cumulative_.push_back((up_to += weight) / sum);
}

std::size_t SourceMixer::pick(std::uint64_t g) const {
  const double uniform = static_cast<double>(hash_counter(key_, g) >> 11) * 0x1p-53;  // [0, 1)
  std::size_t i = 0;
  while (i + 1 < cumulative_.size() && uniform >= cumulative_[i]) ++i;
  return i;
}

}  // namespace memengine
