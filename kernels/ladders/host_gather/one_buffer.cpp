// The rung before the last: what a processor does well, it does here. All its threads gather, each
// with sixteen rows on their way from memory while it copies one, into one buffer; when the whole
// list is there, the buffer is copied to the GPU at the link's full rate. Neither happens beside
// the other, and the GPU reads no row itself: that is what the last rung adds. Without a GPU the
// rows go straight to `out`.
#include <cstring>

#include "kernels/ladders/host_gather/rungs.h"
#include "kernels/runtime/runtime.h"
#include "kernels/table/host_gather/host_gather.h"

namespace memengine::ladders {
namespace {

constexpr std::int64_t rows_ahead = 16;

void fill_buffer(void* argument) {
  const OneBuffer& task = *static_cast<const OneBuffer*>(argument);
  const std::int32_t count = task.list.as<std::int32_t>()[0];
  const std::int32_t* rows = task.list.as<std::int32_t>() + 1;
  const std::int64_t v_dim = task.table.v_dim();
  const auto row_bytes = static_cast<std::size_t>(2 * v_dim);
  auto* to = static_cast<std::uint16_t*>(task.buffer.data());
#pragma omp parallel for schedule(static)
  for (std::int64_t u = 0; u < count; ++u) {
    if (u + rows_ahead < count) {
      const auto* next =
          reinterpret_cast<const char*>(task.table.hi + rows[u + rows_ahead] * v_dim);
      for (std::size_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(next + line);
    }
    std::memcpy(to + u * v_dim, task.table.hi + rows[u] * v_dim, row_bytes);
  }
}

}  // namespace

void one_buffer(const Context& context, Tensor out, OneBuffer& task, const UniqueRows& unique) {
  copy_bytes(context, task.list.data(), unique.count.data(), unique.count.bytes());
  copy_bytes(context, task.list.as<std::int32_t>() + 1, unique.rows.data(), unique.rows.bytes());
  if constexpr (cuda_build) {
    if (context.on_cuda()) {
      memengine::cuda::call_host(context, fill_buffer, &task);
      copy_bytes(context, out.data(), task.buffer.data(), task.buffer.bytes());
      return;
    }
  }
  OneBuffer straight = task;
  straight.buffer = out;
  fill_buffer(&straight);
}

}  // namespace memengine::ladders
