// Which rows of a step are worth an update: those that its batch reads more than other text does
// (sparse memory finetuning, Lin et al. 2025, arXiv 2510.15103).
//
// A row that this batch reads often and a background corpus seldom holds what the batch is about;
// one that every batch reads holds what all text shares, and changing it is what makes a model
// forget. So rows are ranked as words are for a search, by TF-IDF:
//
//     score(i) = c(i) / sum c * log((|B| + 1) / (df(i) + 1))
//
// with c(i) the picks of row i in the batch, and df(i) how many of |B| background batches read it.
// The sum is the same for all rows of a batch and is left out; the logarithm of every possible df
// stands in a table that the host computes, so that a score is one product in FP32 and both devices
// choose the same rows. Of equal scores the lower row comes first.
#pragma once

#include <span>

#include "kernels/runtime/context.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

inline constexpr std::int64_t most_background_batches = 65'535;

// How a background corpus used a table.
struct BackgroundUse {
  Tensor document_frequency;  // i32 [table rows], each from 0 to |B|
  Tensor batches;             // i32 [1]: |B|, at most most_background_batches
  Tensor rarity;              // f32 [most_background_batches + 1]: rarity_of() of each frequency

  bool empty() const { return document_frequency.empty(); }
};

// log((batches + 1) / (d + 1)) for d from 0 to most_background_batches, 0 where d > batches.
void rarity_of(std::span<float> rarity, std::int64_t batches);

// chosen = the part of `unique` that belongs to its `most` rows of the highest scores, or all of it
// where there are no more: rows (ascending), count, offsets, and order and places [P] as in
// deduplicate.h; no inverse. Past offsets[count], the picks of rows that were not chosen, order is
// 0 and places is 0x7fffffff, which segmented sums drop. chosen is allocated for capacity =
// min(most, that of unique) rows and shares no memory with `unique`, which has places.
void choose_rows(const Context& context, const UniqueRows& chosen, const UniqueRows& unique,
                 const BackgroundUse& background, std::int64_t most);

// For lists of up to `capacity` rows.
std::int64_t choose_rows_scratch_bytes(Device device, std::int64_t capacity);

namespace cuda {
decltype(memengine::choose_rows) choose_rows;
std::int64_t choose_rows_scratch_bytes(std::int64_t capacity);
}  // namespace cuda

}  // namespace memengine
