// How a corpus uses the memory: which rows each layer and head picks, and how often.
//
// One counter for each row, layer and head, 4 bytes; every head's counters belong to one thread, so
// that counting needs no atomics. A head picks a row at most once per token.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/memory_probe/lookup_reader.h"
#include "engine/memory_probe/probe_model.h"

namespace memengine {

// Of a set of counters. All of `rows` rows, i1 * n + i2 of n first and n second sub-keys.
struct UseFigures {
  std::int64_t picks = 0;
  std::int64_t distinct = 0;    // rows picked at least once
  double entropy = 0;           // nats, of the picks over the rows
  double kl_to_uniform = 0;     // log(rows) - entropy
  std::int64_t dead_first = 0;  // sub-keys of the first half that no pick has
  std::int64_t dead_second = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> top;  // row, picks; most first
  std::int64_t top_thousandth = 0;  // picks of the 0.1% most used rows (rounded up)
};

// Of two heads that read the same table.
struct UseOverlap {
  std::size_t a = 0, b = 0;  // counters: memory * heads + head
  double rows = 0;           // rows that both pick, as a share of those that either does (Jaccard)
  double picks = 0;          // sum over rows of the smaller of the two shares of picks; 1: alike
};

class RowUse {
 public:
  explicit RowUse(const ProbeModel& model);
  // Host memory that it takes.
  static std::int64_t planned_bytes(const ProbeModel& model);

  void add(const LookupPass& pass);

  std::int64_t tokens() const { return tokens_; }
  std::size_t memories() const { return memories_; }
  std::size_t heads() const { return heads_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t n_keys() const { return n_keys_; }

  // Picks of each row by a head; [rows].
  const std::vector<std::uint32_t>& counts(std::size_t memory, std::size_t head) const {
    return counts_[memory * heads_ + head];
  }
  // By all heads of a layer; by all layers that read the same table as it.
  std::vector<std::uint64_t> layer_counts(std::size_t memory) const;
  std::vector<std::uint64_t> table_counts(std::size_t memory) const;

  // Every pair of heads that read the same table.
  std::vector<UseOverlap> overlaps() const;

 private:
  std::size_t memories_, heads_;
  bool shared_;
  std::int64_t rows_, n_keys_, tokens_ = 0;
  std::vector<std::vector<std::uint32_t>> counts_;
};

// The figures of counters [rows], with the `top` most used rows.
template <typename Count>
UseFigures use_figures(const std::vector<Count>& counts, std::int64_t n_keys, std::size_t top);

// The n x n product grid in cells of whole sub-keys, at most `most` on a side: picks of each cell.
struct UseGrid {
  std::int64_t side = 0, keys_per_cell = 0;
  std::vector<double> cells;  // [side, side], first half down
};
template <typename Count>
UseGrid use_grid(const std::vector<Count>& counts, std::int64_t n_keys, std::int64_t most);

// Counts the whole corpus.
RowUse count_row_use(ProbeModel& model, const NextPass& next);

}  // namespace memengine
