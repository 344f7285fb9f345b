// Pieces of a table's tensors, at any byte, from and to the rows in memory.
#include "engine/model_files/table_columns.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "kernels/runtime/bfloat16.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

constexpr std::int64_t window_rows = 1024;  // copied from a table in GPU memory at a time

struct Column {
  ValueRows table;
  TablePart part;
  bool reachable;  // the host can read the table in place

  std::int64_t columns() const {
    if (part == TablePart::second_moment) return table.layout.second_moments();
    return part == TablePart::last_step ? 1 : table.v_dim();
  }
  DType dtype() const {
    switch (part) {
      case TablePart::weights:
        return DType::f32;
      case TablePart::first_moment:
        return table.layout.moments;
      case TablePart::second_moment:
        return table.layout.second_moment_dtype();
      case TablePart::last_step:
        return DType::i32;
    }
    return DType::f32;
  }
  std::int64_t row_bytes() const { return columns() * element_bytes(dtype()); }
  std::int64_t record_offset() const {
    switch (part) {
      case TablePart::weights:
        return 0;
      case TablePart::first_moment:
        return table.layout.m_offset();
      case TablePart::second_moment:
        return table.layout.v_offset();
      case TablePart::last_step:
        return table.layout.step_offset();
    }
    return 0;
  }
};

Column column_of(const Context& context, const ValueTable& table, TablePart part) {
  return {table.rows(), part, !context.on_cuda() || table.placement() == Placement::host};
}

// Consecutive rows in host memory: the table itself where it is reachable, otherwise a copy.
class RowWindow {
 public:
  RowWindow(const Context& context, const Column& column) : context_(context), column_(column) {}

  void open(std::int64_t first, std::int64_t count) {
    const ValueRows& table = column_.table;
    first_ = first;
    record_data_ = table.records + first * table.layout.bytes();
    hi_data_ = reinterpret_cast<std::byte*>(table.hi + first * table.v_dim());
    if (column_.reachable) return;
    records_.resize(static_cast<std::size_t>(count * table.layout.bytes()));
    hi_.resize(static_cast<std::size_t>(count * table.v_dim() * 2));
    copy_bytes(context_, records_.data(), record_data_, count * table.layout.bytes());
    copy_bytes(context_, hi_.data(), hi_data_, count * table.v_dim() * 2);
    record_data_ = records_.data();
    hi_data_ = hi_.data();
  }
  // Brings changes back to a table that was copied.
  void close() {
    if (column_.reachable) return;
    const ValueRows& table = column_.table;
    copy_bytes(context_, table.records + first_ * table.layout.bytes(), records_.data(),
               static_cast<std::int64_t>(records_.size()));
    copy_bytes(context_, table.hi + first_ * table.v_dim(), hi_.data(),
               static_cast<std::int64_t>(hi_.size()));
  }

  std::byte* record(std::int64_t row) const {
    return record_data_ + (row - first_) * column_.table.layout.bytes();
  }
  std::byte* hi(std::int64_t row) const {
    return hi_data_ + (row - first_) * column_.table.v_dim() * 2;
  }

 private:
  const Context& context_;
  const Column& column_;
  std::vector<std::byte> records_, hi_;
  std::byte* record_data_ = nullptr;
  std::byte* hi_data_ = nullptr;
  std::int64_t first_ = 0;
};

// Bytes [offset, offset + bytes.size()) of one row as it stands in the file.
void read_row(const Column& column, const std::byte* record, const std::byte* hi,
              std::int64_t offset, std::span<std::byte> bytes) {
  if (column.part != TablePart::weights) {
    std::memcpy(bytes.data(), record + column.record_offset() + offset, bytes.size());
    return;
  }
  const auto* upper = reinterpret_cast<const std::uint16_t*>(hi);
  const auto* lower = reinterpret_cast<const std::uint16_t*>(record);
  if (offset % 4 == 0 && bytes.size() % 4 == 0) {
    const auto count = static_cast<std::int64_t>(bytes.size() / 4);
    for (std::int64_t i = 0; i < count; ++i) {
      const float weight = join_float(upper[offset / 4 + i], lower[offset / 4 + i]);
      std::memcpy(bytes.data() + 4 * i, &weight, 4);
    }
    return;
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {  // a block that begins or ends within a number
    const auto at = offset + static_cast<std::int64_t>(i);
    const float weight = join_float(upper[at / 4], lower[at / 4]);
    std::memcpy(&bytes[i], reinterpret_cast<const std::byte*>(&weight) + at % 4, 1);
  }
}

void write_row(const Column& column, std::byte* record, std::byte* hi, std::int64_t offset,
               std::span<const std::byte> bytes) {
  if (column.part != TablePart::weights) {
    std::memcpy(record + column.record_offset() + offset, bytes.data(), bytes.size());
    return;
  }
  if (offset % 4 != 0 || bytes.size() % 4 != 0) {
    fail_input("the weights of a value table are cut within a number: the file is of another form");
  }
  auto* upper = reinterpret_cast<std::uint16_t*>(hi) + offset / 4;
  auto* lower = reinterpret_cast<std::uint16_t*>(record) + offset / 4;
  for (std::size_t i = 0; i < bytes.size() / 4; ++i) {
    float weight = 0;
    std::memcpy(&weight, bytes.data() + 4 * i, 4);
    const SplitFloat split = split_float(weight);
    upper[i] = split.hi;
    lower[i] = split.lo;
  }
}

// Calls body(k, offset in row k, piece) for all rows that the bytes at `offset` of a tensor of rows
// touch.
template <typename Byte, typename Body>
void for_each_row(std::int64_t row_bytes, std::uint64_t offset, std::span<Byte> bytes,
                  Body&& body) {
  auto row = static_cast<std::int64_t>(offset) / row_bytes;
  std::int64_t within = static_cast<std::int64_t>(offset) % row_bytes;
  while (!bytes.empty()) {
    const auto piece = std::min(bytes.size(), static_cast<std::size_t>(row_bytes - within));
    body(row, within, bytes.first(piece));
    bytes = bytes.subspan(piece);
    ++row;
    within = 0;
  }
}

// The rows that `size` bytes at `offset` touch: first and one past the last.
std::pair<std::int64_t, std::int64_t> rows_of(std::int64_t row_bytes, std::uint64_t offset,
                                              std::size_t size) {
  const auto begin = static_cast<std::int64_t>(offset);
  const auto end = begin + static_cast<std::int64_t>(size);
  return {begin / row_bytes, (end + row_bytes - 1) / row_bytes};
}

std::vector<std::int64_t> shape_of(const Column& column, std::int64_t rows) {
  if (column.part == TablePart::last_step) return {rows};
  return {rows, column.columns()};
}

}  // namespace

std::span<const TablePart> table_parts(const ValueTable& table) {
  static constexpr TablePart all[] = {TablePart::weights, TablePart::first_moment,
                                      TablePart::second_moment, TablePart::last_step};
  static constexpr TablePart without[] = {TablePart::weights, TablePart::last_step};
  if (table.rows().layout.has_moments) return all;
  return without;
}

std::string table_part_suffix(TablePart part) {
  switch (part) {
    case TablePart::weights:
      return "";
    case TablePart::first_moment:
      return ".first_moment";
    case TablePart::second_moment:
      return ".second_moment";
    case TablePart::last_step:
      return ".last_step";
  }
  return "";
}

CheckpointTensor own_rows_tensor(const Context& context, const ValueTable& table, TablePart part) {
  const Column column = column_of(context, table, part);
  CheckpointTensor source;
  source.name = table.name() + table_part_suffix(part);
  source.dtype = file_dtype(column.dtype());
  source.shape = shape_of(column, column.table.rows);
  source.read = [&context, column](std::uint64_t offset, std::span<std::byte> bytes) {
    RowWindow window(context, column);
    const auto [first, end] = rows_of(column.row_bytes(), offset, bytes.size());
    window.open(first, end - first);
    for_each_row(column.row_bytes(), offset, bytes,
                 [&](std::int64_t row, std::int64_t at, std::span<std::byte> piece) {
                   read_row(column, window.record(row), window.hi(row), at, piece);
                 });
  };
  return source;
}

FileTensor table_tensor(const Context& context, const ValueTable& table, TablePart part) {
  const Column column = column_of(context, table, part);
  const RankPlace owner = column.table.owner;
  FileTensor file;
  file.source = own_rows_tensor(context, table, part);
  file.source.shape = shape_of(column, table.table_rows());
  if (owner.size > 1) file.source.read = {};
  file.concurrent = column.reachable;
  file.owner = owner;
  file.write = [&context, column, owner](std::uint64_t offset, std::span<const std::byte> bytes) {
    RowWindow window(context, column);
    const auto [first, end] = rows_of(column.row_bytes(), offset, bytes.size());
    // Row g is at place g / size of the rank g modulo size.
    const auto places_before = [&](std::int64_t row) {
      return (row - owner.rank + owner.size - 1) / owner.size;
    };
    const std::int64_t begin = places_before(first), count = places_before(end) - begin;
    if (count == 0) return;
    window.open(begin, count);
    for_each_row(column.row_bytes(), offset, bytes,
                 [&](std::int64_t row, std::int64_t at, std::span<const std::byte> piece) {
                   if (row % owner.size != owner.rank) return;
                   const std::int64_t place = row / owner.size;
                   write_row(column, window.record(place), window.hi(place), at, piece);
                 });
    window.close();
  };
  return file;
}

std::vector<std::int32_t> rows_updated_after(const Context& context, const ValueTable& table,
                                             std::int64_t step) {
  const Column column = column_of(context, table, TablePart::last_step);
  const std::int64_t rows = column.table.rows;
  constexpr std::int64_t block = 1 << 16;
  std::vector<std::vector<std::int32_t>> found(
      static_cast<std::size_t>((rows + block - 1) / block));
#pragma omp parallel for schedule(dynamic) if (column.reachable)
  for (std::size_t b = 0; b < found.size(); ++b) {
    RowWindow window(context, column);
    const std::int64_t first = static_cast<std::int64_t>(b) * block;
    const std::int64_t count = std::min(block, rows - first);
    window.open(first, count);
    for (std::int64_t row = first; row < first + count; ++row) {
      std::uint32_t last_step = 0;
      std::memcpy(&last_step, window.record(row) + column.record_offset(), sizeof last_step);
      if (last_step > step) found[b].push_back(static_cast<std::int32_t>(row));
    }
  }
  std::vector<std::int32_t> all;
  for (const std::vector<std::int32_t>& part : found)
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

CheckpointTensor table_rows_tensor(const Context& context, const ValueTable& table, TablePart part,
                                   std::shared_ptr<const std::vector<std::int32_t>> rows) {
  const Column column = column_of(context, table, part);
  CheckpointTensor source;
  source.name = table.name() + table_part_suffix(part);
  source.dtype = file_dtype(column.dtype());
  source.shape = shape_of(column, static_cast<std::int64_t>(rows->size()));
  source.read = [&context, column, rows](std::uint64_t offset, std::span<std::byte> bytes) {
    RowWindow window(context, column);
    // Rows ascend: a window serves all of them that lie in it.
    std::int64_t window_end = 0;
    for_each_row(column.row_bytes(), offset, bytes,
                 [&](std::int64_t k, std::int64_t at, std::span<std::byte> piece) {
                   const std::int64_t row = (*rows)[static_cast<std::size_t>(k)];
                   if (row >= window_end) {
                     window_end = std::min(row + window_rows, column.table.rows);
                     window.open(row, window_end - row);
                   }
                   read_row(column, window.record(row), window.hi(row), at, piece);
                 });
  };
  return source;
}

std::int64_t table_row_bytes(const ValueTable& table) {
  return table.rows().layout.state_bytes();
}

}  // namespace memengine
