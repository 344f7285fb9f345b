// Where a bag finds its rows: in a matrix that was gathered before, or in the value table itself.
//
// Rows that lie in the device's own memory are read in place, by their number in the table: nothing
// is gathered, and a lookup needs no list of distinct rows. What is read is what a gather would
// have written (value_rows.h, no decay), to the bit.
#pragma once

#include "kernels/table/value_rows.h"

namespace memengine {

struct BagRows {
  Tensor gathered;  // [*, V], the activations' dtype; empty: the rows are in `table`
  ValueRows table;  // [table.rows, V]
  ValuePrecision precision = ValuePrecision::bf16;

  BagRows(const Tensor& rows) : gathered(rows) {}  // NOLINT: a matrix of rows is rows
  BagRows(const ValueRows& rows, ValuePrecision read_as) : table(rows), precision(read_as) {}

  const void* data() const { return gathered.empty() ? table.hi : gathered.data(); }
};

}  // namespace memengine
