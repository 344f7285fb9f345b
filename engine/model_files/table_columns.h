// Value tables as plain tensors: their halves and records, put together and taken apart.
//
// In memory a row lies in two places, its upper halves in `hi` and all else in its record
// (kernels/table/value_rows.h). Files have four tensors of it: weights f32 [rows, v_dim], both
// moments [rows, v_dim], and the step of the last update i32 [rows]. A table in host memory is read
// and written in place, by several threads; of one in GPU memory windows of rows are copied. Of a
// table that is spread over ranks each rank writes its own rows, and takes its own from the whole.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoints/checkpoint.h"
#include "kernels/runtime/context.h"
#include "model/memory/value_table.h"

namespace memengine {

// A tensor of a model and its place in a file: how to read pieces of it, and how to write them.
struct FileTensor {
  CheckpointTensor source;
  std::function<void(std::uint64_t, std::span<const std::byte>)> write;
  bool concurrent = true;  // as in TensorSink
  bool optional = false;   // a checkpoint may lack it or hold it in another shape
  RankPlace owner;         // of the rows that `write` takes; others are passed over
};

enum class TablePart { weights, first_moment, second_moment, last_step };

// The parts that a table has: all, or weights and last steps where it keeps no moments.
std::span<const TablePart> table_parts(const ValueTable& table);

// The suffix of the part's name in files; the weights have the table's own name.
std::string table_part_suffix(TablePart part);

// A part of the whole table, to be read from a file; and to be written where one rank has it all.
FileTensor table_tensor(const Context& context, const ValueTable& table, TablePart part);
// A part of this rank's rows, to be written.
CheckpointTensor own_rows_tensor(const Context& context, const ValueTable& table, TablePart part);

// Places in this rank's part of the table, ascending, of rows whose last update came after `step`.
std::vector<std::int32_t> rows_updated_after(const Context& context, const ValueTable& table,
                                             std::int64_t step);

// The same part of the rows at some places [K, ...] only, for writing. Shares the list.
CheckpointTensor table_rows_tensor(const Context& context, const ValueTable& table, TablePart part,
                                   std::shared_ptr<const std::vector<std::int32_t>> rows);

// Bytes of one row in files, all parts.
std::int64_t table_row_bytes(const ValueTable& table);

}  // namespace memengine
