// Rows of a host table beside the GPU: fetched before their update, stored back after it.
//
// A step knows which rows it will update as soon as it has looked them up, long before it has their
// gradients; and nobody reads a row's record again until the row's next update. So the rows cross
// the link while the GPU computes something else: they are fetched during the rest of the forward
// pass and the backward pass, updated in GPU memory, their weights stored at the end of the step
// and their records during the next one. A plain copy by few threads keeps the link busy, so the
// rest of the GPU stays free.
#pragma once

#include "engine/runtime/context.h"
#include "kernels/value_rows.h"

namespace memengine {

// Room for the first S rows of a step's list of distinct rows. The caller owns the memory.
struct StagedRows {
  ValueRows values;  // S rows: place u holds table row rows[u]
  Tensor rows;       // [S] i32
  Tensor count;      // [1] i32: how many places are taken

  std::int64_t capacity() const { return values.rows; }  // S; 0: no staging
};

// staged = the first min(unique.count, S) rows of the list, with their records. The layouts of
// `staged` and `table` are the same.
void fetch_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                const UniqueRows& unique);

// table.hi = staged.values.hi, for the staged rows.
void store_weights(const Context& context, const ValueRows& table, const StagedRows& staged);

// table.records = staged.values.records, for the staged rows. Doing it again changes nothing.
void store_records(const Context& context, const ValueRows& table, const StagedRows& staged);

namespace cuda {
decltype(memengine::fetch_rows) fetch_rows;
decltype(memengine::store_weights) store_weights;
decltype(memengine::store_records) store_records;
}  // namespace cuda

}  // namespace memengine
