// Streams parameters, moments and value tables out of and into memory, block by block.
//
// Each tensor of a checkpoint is described once, by a FileTensor that can both read and write a
// range of its bytes; saving and loading walk the same list, so what is saved is what is loaded.
#include "engine/model_files.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "engine/runtime/runtime.h"

namespace memengine {
namespace {

struct FileTensor {
  CheckpointTensor source;  // name, dtype, shape, and how to read a range
  std::function<void(std::uint64_t, std::span<const std::byte>)> write;
};

std::vector<std::int64_t> shape_of(const Tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (int axis = 0; axis < tensor.rank(); ++axis) shape.push_back(tensor.dim(axis));
  return shape;
}

// A tensor that lies in memory as it lies in the file.
FileTensor plain(const Context& context, const std::string& name, const Tensor& tensor) {
  auto* base = static_cast<std::byte*>(tensor.data());
  FileTensor file;
  file.source = {name, file_dtype(tensor.dtype()), shape_of(tensor),
                 [&context, base](std::uint64_t offset, std::span<std::byte> bytes) {
                   copy_bytes(context, bytes.data(), base + offset,
                              static_cast<std::int64_t>(bytes.size()));
                 }};
  file.write = [&context, base](std::uint64_t offset, std::span<const std::byte> bytes) {
    copy_bytes(context, base + offset, bytes.data(), static_cast<std::int64_t>(bytes.size()));
  };
  return file;
}

// A column of a value table: `columns` elements a row, scattered over `hi` and the records.
struct TableColumn {
  enum class Part { weights, first_moment, second_moment, last_step };
  ValueRows table;
  Part part;

  std::int64_t columns() const { return part == Part::last_step ? 1 : table.v_dim(); }
  DType dtype() const {
    if (part == Part::last_step) return DType::i32;
    return part == Part::weights ? DType::f32 : table.layout.moments;
  }
  std::int64_t row_bytes() const { return columns() * element_bytes(dtype()); }
  std::int64_t record_offset() const {
    switch (part) {
      case Part::weights:
        return 0;
      case Part::first_moment:
        return table.layout.m_offset();
      case Part::second_moment:
        return table.layout.v_offset();
      case Part::last_step:
        return table.layout.step_offset();
    }
    return 0;
  }
};

// Rows of a table in host memory for a moment: where the table is reachable, the table itself.
struct RowWindow {
  std::vector<std::byte> records, hi;
  std::byte* record_data = nullptr;
  std::byte* hi_data = nullptr;
};

RowWindow open_rows(const Context& context, const ValueRows& table, bool reachable,
                    std::int64_t first, std::int64_t count) {
  RowWindow window;
  auto* records = table.records + first * table.layout.bytes();
  auto* hi = reinterpret_cast<std::byte*>(table.hi + first * table.v_dim());
  if (reachable) {
    window.record_data = records;
    window.hi_data = hi;
    return window;
  }
  window.records.resize(static_cast<std::size_t>(count * table.layout.bytes()));
  window.hi.resize(static_cast<std::size_t>(count * table.v_dim() * 2));
  window.record_data = window.records.data();
  window.hi_data = window.hi.data();
  copy_bytes(context, window.record_data, records, count * table.layout.bytes());
  copy_bytes(context, window.hi_data, hi, count * table.v_dim() * 2);
  return window;
}

void close_rows(const Context& context, const ValueRows& table, const RowWindow& window,
                std::int64_t first) {
  if (window.records.empty()) return;
  copy_bytes(context, table.records + first * table.layout.bytes(), window.record_data,
             static_cast<std::int64_t>(window.records.size()));
  copy_bytes(context, table.hi + first * table.v_dim(), window.hi_data,
             static_cast<std::int64_t>(window.hi.size()));
}

// Calls body(row in window, row's first byte in the column, bytes of that row) for a byte range.
template <typename Body>
void for_each_row(std::int64_t row_bytes, std::int64_t offset, std::int64_t size, Body&& body) {
  const std::int64_t first = offset / row_bytes;
  const std::int64_t last = (offset + size - 1) / row_bytes;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = first; row <= last; ++row) {
    const std::int64_t begin = std::max(offset, row * row_bytes);
    const std::int64_t end = std::min(offset + size, (row + 1) * row_bytes);
    body(row - first, begin - row * row_bytes, begin - offset, end - begin);
  }
}

// The numbers of one row, as they stand in the file, from the row's place in memory, or back.
void read_row(const TableColumn& column, const std::byte* record, const std::byte* hi,
              std::byte* row) {
  if (column.part != TableColumn::Part::weights) {
    std::memcpy(row, record + column.record_offset(), static_cast<std::size_t>(column.row_bytes()));
    return;
  }
  const auto* upper = reinterpret_cast<const std::uint16_t*>(hi);
  const auto* lower = reinterpret_cast<const std::uint16_t*>(record);
  for (std::int64_t i = 0; i < column.columns(); ++i) {
    const float weight = join_float(upper[i], lower[i]);
    std::memcpy(row + 4 * i, &weight, 4);
  }
}

void write_row(const TableColumn& column, std::byte* record, std::byte* hi, const std::byte* row) {
  if (column.part != TableColumn::Part::weights) {
    std::memcpy(record + column.record_offset(), row, static_cast<std::size_t>(column.row_bytes()));
    return;
  }
  auto* upper = reinterpret_cast<std::uint16_t*>(hi);
  auto* lower = reinterpret_cast<std::uint16_t*>(record);
  for (std::int64_t i = 0; i < column.columns(); ++i) {
    float weight = 0;
    std::memcpy(&weight, row + 4 * i, 4);
    const SplitFloat split = split_float(weight);
    upper[i] = split.hi;
    lower[i] = split.lo;
  }
}

FileTensor table_column(const Context& context, const std::string& name, const ValueTable& table,
                        TableColumn::Part part) {
  const TableColumn column{table.rows(), part};
  const bool reachable = !context.on_cuda() || table.placement() == Placement::host;
  FileTensor file;
  file.source.name = name;
  file.source.dtype = file_dtype(column.dtype());
  file.source.shape = {column.table.rows};
  if (part != TableColumn::Part::last_step) file.source.shape.push_back(column.columns());

  // A block may start or end inside a row, so rows pass through a row's worth of bytes.
  const auto transfer = [&context, column, reachable](std::uint64_t offset, std::int64_t size,
                                                      bool writing, auto&& move) {
    const std::int64_t row_bytes = column.row_bytes();
    const auto begin = static_cast<std::int64_t>(offset);
    const std::int64_t first = begin / row_bytes;
    const std::int64_t count = (begin + size - 1) / row_bytes - first + 1;
    const RowWindow window = open_rows(context, column.table, reachable, first, count);
    for_each_row(row_bytes, begin, size,
                 [&](std::int64_t row, std::int64_t row_offset, std::int64_t block_offset,
                     std::int64_t bytes) {
                   std::vector<std::byte> numbers(static_cast<std::size_t>(row_bytes));
                   std::byte* record = window.record_data + row * column.table.layout.bytes();
                   std::byte* hi = window.hi_data + row * column.table.v_dim() * 2;
                   read_row(column, record, hi, numbers.data());
                   move(numbers.data() + row_offset, block_offset, bytes);
                   if (writing) write_row(column, record, hi, numbers.data());
                 });
    if (writing) close_rows(context, column.table, window, first);
  };
  file.source.read = [transfer](std::uint64_t offset, std::span<std::byte> bytes) {
    transfer(offset, static_cast<std::int64_t>(bytes.size()), false,
             [&](std::byte* row, std::int64_t at, std::int64_t count) {
               std::memcpy(bytes.data() + at, row, static_cast<std::size_t>(count));
             });
  };
  file.write = [transfer](std::uint64_t offset, std::span<const std::byte> bytes) {
    transfer(offset, static_cast<std::int64_t>(bytes.size()), true,
             [&](std::byte* row, std::int64_t at, std::int64_t count) {
               std::memcpy(row, bytes.data() + at, static_cast<std::size_t>(count));
             });
  };
  return file;
}

// Part of the flat moment block that belongs to a named slice of the flat values.
Tensor moment_of(const Tensor& moments, const Tensor& values, const Tensor& slice) {
  const std::int64_t first =
      (static_cast<std::byte*>(slice.data()) - static_cast<std::byte*>(values.data())) /
      element_bytes(values.dtype());
  Tensor part = moments.rows(first, slice.size());
  return slice.rank() == 2 ? part.reshape({slice.dim(0), slice.dim(1)}) : part;
}

struct ModelTensors {
  std::vector<FileTensor> model, optimizer;
};

ModelTensors list_tensors(const Context& context, const Transformer& transformer,
                          const Optimizer* optimizer) {
  ModelTensors list;
  const Tensor values = transformer.parameters().values();
  for (const NamedTensor& named : transformer.parameters().named()) {
    list.model.push_back(plain(context, named.name, named.value));
    const auto* begin = static_cast<std::byte*>(values.data());
    const auto* data = static_cast<std::byte*>(named.value.data());
    const bool trained = data >= begin && data < begin + values.bytes();
    if (optimizer == nullptr || !trained) continue;
    list.optimizer.push_back(plain(context, named.name + ".first_moment",
                                   moment_of(optimizer->first_moment(), values, named.value)));
    list.optimizer.push_back(plain(context, named.name + ".second_moment",
                                   moment_of(optimizer->second_moment(), values, named.value)));
  }
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      using Part = TableColumn::Part;
      const std::string& name = table.name();
      list.model.push_back(table_column(context, name, table, Part::weights));
      if (optimizer == nullptr) continue;
      list.optimizer.push_back(
          table_column(context, name + ".first_moment", table, Part::first_moment));
      list.optimizer.push_back(
          table_column(context, name + ".second_moment", table, Part::second_moment));
      list.optimizer.push_back(table_column(context, name + ".last_step", table, Part::last_step));
      list.optimizer.push_back(plain(context, name + ".rows_ever_used", table.rows_ever_used()));
    }
  }
  if (optimizer != nullptr) {
    list.optimizer.push_back(plain(context, "optimizer.step", optimizer->steps_done()));
  }
  return list;
}

// `reader` is a Checkpoint or a WeightReader, `where` its name for messages.
template <typename Reader>
void load(const Reader& reader, const std::string& where, const std::vector<FileTensor>& tensors) {
  constexpr std::uint64_t block_bytes = 16 << 20;
  std::vector<std::byte> block;
  for (const FileTensor& tensor : tensors) {
    const TensorInfo* found = reader.find(tensor.source.name);
    if (found == nullptr) {
      fail_input("{}: no tensor '{}': the weights are of another model", where, tensor.source.name);
    }
    if (found->shape != tensor.source.shape || found->dtype != tensor.source.dtype) {
      fail_input("{}: tensor '{}' is {} [{}], the config makes it {} [{}]", where,
                 tensor.source.name, file_dtype_name(found->dtype), fmt::join(found->shape, ", "),
                 file_dtype_name(tensor.source.dtype), fmt::join(tensor.source.shape, ", "));
    }
    for (std::uint64_t offset = 0; offset < found->bytes; offset += block_bytes) {
      block.resize(std::min(block_bytes, found->bytes - offset));
      reader.read(tensor.source.name, offset, block);
      tensor.write(offset, block);
    }
  }
}

}  // namespace

std::vector<CheckpointFile> model_files(const Context& context, const Transformer& transformer,
                                        const Optimizer* optimizer) {
  const ModelTensors tensors = list_tensors(context, transformer, optimizer);
  std::vector<CheckpointFile> files = {{"model.safetensors", {}}};
  for (const FileTensor& tensor : tensors.model) files[0].tensors.push_back(tensor.source);
  if (optimizer != nullptr) {
    files.push_back({"optimizer.safetensors", {}});
    for (const FileTensor& tensor : tensors.optimizer) files[1].tensors.push_back(tensor.source);
  }
  return files;
}

void load_model_files(const Context& context, const Checkpoint& checkpoint,
                      Transformer& transformer, const Optimizer* optimizer) {
  const ModelTensors tensors = list_tensors(context, transformer, optimizer);
  const std::string where = checkpoint.folder().string();
  load(checkpoint, where, tensors.model);
  load(checkpoint, where, tensors.optimizer);
  transformer.parameters().refresh_compute(context);
}

void load_weights(const Context& context, const WeightReader& reader, Transformer& transformer) {
  load(reader, reader.where, list_tensors(context, transformer, nullptr).model);
  transformer.parameters().refresh_compute(context);
}

}  // namespace memengine
