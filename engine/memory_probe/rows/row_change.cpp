// A heap of the most changed rows; two blocks of each table in memory at a time.
#include "engine/memory_probe/rows/row_change.h"

#include <algorithm>
#include <cmath>

#include "engine/memory_probe/probe_model.h"
#include "engine/model_files/weight_reader.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::int64_t block_bytes = 16 << 20;
constexpr int bins = 33;

bool changed_more(const RowChange& a, const RowChange& b) {
  return a.change > b.change || (a.change == b.change && a.row < b.row);
}

RowChange compare_rows(std::int64_t row, const float* a, const float* b, std::int64_t size) {
  double squares = 0, before = 0, after = 0, dot = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const double x = a[i], y = b[i];
    squares += (y - x) * (y - x);
    before += x * x;
    after += y * y;
    dot += x * y;
  }
  const double norms = std::sqrt(before * after);
  return {row, std::sqrt(squares), std::sqrt(before), std::sqrt(after),
          norms > 0 ? dot / norms : 0};
}

int bin_of(double change) {
  return std::clamp(static_cast<int>(std::floor((std::log10(change) + 6) * 4)), 0, bins - 1);
}

void check_alike(const ModelSource& a, const ModelSource& b) {
  check_memory(a);
  check_memory(b);
  const ProductKeyConfig &x = a.model.productkey_args, &y = b.model.productkey_args;
  const auto refuse = [&](const char* key, std::int64_t of_a, std::int64_t of_b) {
    if (of_a == of_b) return;
    fail_input("{} has {} {}, {} has {}: only tables of the same shape can be compared",
               a.folder.string(), key, of_a, b.folder.string(), of_b);
  };
  refuse("mem_n_keys", x.mem_n_keys, y.mem_n_keys);
  refuse("a value size of", a.model.value_dim(), b.model.value_dim());
  refuse("mem_share_values", x.mem_share_values, y.mem_share_values);
  refuse("peer_variant", x.peer_variant, y.peer_variant);
  if (a.model.memory_layers() != b.model.memory_layers()) {
    fail_input("{} has its memory in layers {}, {} in {}", a.folder.string(), x.layers,
               b.folder.string(), y.layers);
  }
}

}  // namespace

std::vector<TableChange> compare_tables(
    const ModelSource& a, const ModelSource& b, std::size_t top,
    const std::function<void(std::int64_t, std::int64_t)>& progress) {
  check_alike(a, b);
  const WeightReader read_a = open_weights(a), read_b = open_weights(b);
  const std::vector<std::int64_t> layers = a.model.memory_layers();
  const std::size_t tables = a.model.productkey_args.mem_share_values ? 1 : layers.size();
  const std::int64_t rows = a.model.productkey_args.rows(), size = a.model.value_dim();
  const std::int64_t block_rows = std::max<std::int64_t>(block_bytes / (size * 4), 1);
  std::vector<float> block_a, block_b;
  std::vector<RowChange> changes;
  std::vector<TableChange> result;
  for (std::size_t t = 0; t < tables; ++t) {
    TableChange table{value_table_name(a.model, t), layers[t], rows, 0, 0, 0, {}, {}};
    table.histogram.assign(bins, 0);
    for (const WeightReader* reader : {&read_a, &read_b}) {
      if (reader->find(table.table) == nullptr) {
        fail_input("{}: no tensor '{}'", reader->where, table.table);
      }
    }
    for (std::int64_t first = 0; first < rows; first += block_rows) {
      const std::int64_t count = std::min(block_rows, rows - first);
      const auto read = [&](const WeightReader& reader, std::vector<float>& block) {
        block.resize(static_cast<std::size_t>(count * size));
        reader.read(table.table, static_cast<std::uint64_t>(first * size) * 4,
                    std::as_writable_bytes(std::span(block)));
      };
      read(read_a, block_a);
      read(read_b, block_b);
      changes.resize(static_cast<std::size_t>(count));
#pragma omp parallel for
      for (std::int64_t i = 0; i < count; ++i) {
        changes[static_cast<std::size_t>(i)] =
            compare_rows(first + i, block_a.data() + i * size, block_b.data() + i * size, size);
      }
      for (const RowChange& change : changes) {
        if (!(change.change > 0)) continue;
        ++table.changed;
        table.mean_change += change.change / static_cast<double>(rows);
        table.root_mean_square += change.change * change.change / static_cast<double>(rows);
        ++table.histogram[static_cast<std::size_t>(bin_of(change.change))];
        table.top.push_back(change);
        std::push_heap(table.top.begin(), table.top.end(), changed_more);
        if (table.top.size() <= top) continue;
        std::pop_heap(table.top.begin(), table.top.end(), changed_more);
        table.top.pop_back();
      }
      if (progress)
        progress(static_cast<std::int64_t>(t) * rows + first + count,
                 static_cast<std::int64_t>(tables) * rows);
    }
    table.root_mean_square = std::sqrt(table.root_mean_square);
    std::sort(table.top.begin(), table.top.end(), changed_more);
    result.push_back(std::move(table));
  }
  return result;
}

}  // namespace memengine
