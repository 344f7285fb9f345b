// Who reads a row: the places in a corpus whose tokens pick it, the strongest of them with their
// words, and the tokens that come next there.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/memory_probe/lookup_reader.h"
#include "engine/memory_probe/probe_model.h"

namespace memengine {

// A token that picks the row.
struct RowRead {
  float weight = 0;
  std::size_t memory = 0, head = 0;
  std::int64_t place = 0;            // of the token, counted in the corpus as it is read
  std::vector<std::int32_t> before;  // the tokens of its window before it, the nearest last
  std::int32_t token = 0, next = -1;
};

struct RowReaders {
  std::int64_t row = 0;
  std::vector<std::int64_t> reads;                            // [memories * heads]
  std::vector<double> weight;                                 // summed, likewise
  std::vector<RowRead> strongest;                             // one a place, highest weight first
  std::vector<std::pair<std::int32_t, std::int64_t>> tokens;  // that read it, most often first
  std::vector<std::pair<std::int32_t, std::int64_t>> next;    // that follow them
  // Of each memory: silu(swilu_projection(x)) of the tokens that read the row, their mean by
  // weight, [v_dim]; empty where there is no such gate, or the memory does not read the row.
  std::vector<std::vector<double>> gate;

  std::int64_t all_reads() const;
};

class RowReads {
 public:
  // Of these rows of the table that memory `table_of` reads; of each the `keep` strongest places
  // with up to `words` tokens before them, and the `keep` most frequent tokens.
  RowReads(const ProbeModel& model, const std::vector<std::int64_t>& rows, std::size_t table_of,
           std::size_t keep, std::size_t words = 16);

  // `pass` has weights; gates where the result should.
  void add(const LookupPass& pass);
  std::vector<RowReaders> result() const;  // in the order of the rows given

  std::int64_t tokens() const { return tokens_; }

 private:
  // What one head found of one row.
  struct Found {
    std::int64_t reads = 0;
    double weight = 0;
    std::vector<RowRead> strongest;  // a heap, the weakest on top
    std::unordered_map<std::int32_t, std::int64_t> tokens, next;
    std::vector<double> gate;
  };
  void read(Found& found, const LookupPass& pass, std::size_t memory, std::size_t head,
            std::int64_t token, std::int64_t pick) const;

  std::vector<std::int64_t> rows_;
  std::vector<std::uint8_t> wanted_;                     // [rows of the table]
  std::unordered_map<std::int64_t, std::size_t> index_;  // row -> its place in rows_
  std::vector<std::size_t> memories_;                    // that read the table
  std::size_t memory_count_, heads_, keep_, words_;
  std::int64_t v_dim_, tokens_ = 0;
  std::vector<std::vector<Found>> found_;  // [memories_ * heads][rows_]
};

// Reads the whole corpus.
std::vector<RowReaders> find_row_readers(ProbeModel& model, const NextPass& next,
                                         const std::vector<std::int64_t>& rows,
                                         std::size_t table_of, std::size_t keep);

}  // namespace memengine
