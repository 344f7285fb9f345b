// CPU reference of staging: one copy a row.
#include "kernels/staged_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/dispatch.h"

namespace memengine {
namespace {

// Copies row_bytes of each staged row from the table to its place, or back.
void copy_rows(std::byte* table, std::byte* places, const StagedRows& staged,
               std::int64_t row_bytes, bool to_table) {
  const std::int64_t count = *staged.count.as<std::int32_t>();
  const std::int32_t* rows = staged.rows.as<std::int32_t>();
#pragma omp parallel for schedule(static)
  for (std::int64_t u = 0; u < count; ++u) {
    std::byte* row = table + rows[u] * row_bytes;
    std::byte* place = places + u * row_bytes;
    std::memcpy(to_table ? row : place, to_table ? place : row,
                static_cast<std::size_t>(row_bytes));
  }
}

void copy_weights(const ValueRows& table, const StagedRows& staged, bool to_table) {
  copy_rows(reinterpret_cast<std::byte*>(table.hi), reinterpret_cast<std::byte*>(staged.values.hi),
            staged, table.v_dim() * 2, to_table);
}

void copy_records(const ValueRows& table, const StagedRows& staged, bool to_table) {
  copy_rows(table.records, staged.values.records, staged, table.layout.bytes(), to_table);
}

}  // namespace

void fetch_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                const UniqueRows& unique) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::fetch_rows(context, staged, table, unique));
  const std::int64_t count =
      std::min<std::int64_t>(*unique.count.as<std::int32_t>(), staged.capacity());
  std::copy_n(unique.rows.as<std::int32_t>(), count, staged.rows.as<std::int32_t>());
  *staged.count.as<std::int32_t>() = static_cast<std::int32_t>(count);
  copy_weights(table, staged, false);
  copy_records(table, staged, false);
}

void store_weights(const Context& context, const ValueRows& table, const StagedRows& staged) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::store_weights(context, table, staged));
  copy_weights(table, staged, true);
}

void store_records(const Context& context, const ValueRows& table, const StagedRows& staged) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::store_records(context, table, staged));
  copy_records(table, staged, true);
}

}  // namespace memengine
