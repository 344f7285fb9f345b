// Second rung: the same of the sorted list of distinct rows. No row crosses the link twice, and
// neighbours in the list are near each other in memory, where one translation serves several.
#include "kernels/ladders/host_gather/row_pieces.cuh"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

__global__ void __launch_bounds__(copying_threads)
    distinct_kernel(uint4* out, const uint4* table, const std::int32_t* rows,
                    const std::int32_t* count, std::int64_t pieces) {
  const std::int64_t i = std::int64_t{blockIdx.x} * copying_threads + threadIdx.x;
  if (i < *count * pieces) copy_piece(out, table, i, rows[i / pieces], pieces);
}

}  // namespace

void distinct(const Context& context, Tensor out, const ValueRows& table,
              const UniqueRows& unique) {
  const std::int64_t pieces = pieces_of_row(table);
  distinct_kernel<<<grid_size(ceil_divide(unique.capacity() * pieces, copying_threads)),
                    copying_threads, 0, context.stream>>>(
      static_cast<uint4*>(out.data()), reinterpret_cast<const uint4*>(table.hi),
      unique.rows.as<std::int32_t>(), unique.count.as<std::int32_t>(), pieces);
  MEMENGINE_LAUNCH_CHECK("ladders: distinct");
}

}  // namespace memengine::ladders::cuda
