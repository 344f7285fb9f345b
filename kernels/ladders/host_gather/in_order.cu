// First rung: the GPU reads the rows through the mapping, in the order of the picks. Each row's
// address has to be translated on its way to host memory, and in a large table it is another page
// every time.
#include "kernels/ladders/host_gather/row_pieces.cuh"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

__global__ void __launch_bounds__(copying_threads)
    in_order_kernel(uint4* out, const uint4* table, const std::int32_t* picks, std::int64_t count,
                    std::int64_t pieces) {
  const std::int64_t i = std::int64_t{blockIdx.x} * copying_threads + threadIdx.x;
  if (i < count * pieces) copy_piece(out, table, i, picks[i / pieces], pieces);
}

}  // namespace

void in_order(const Context& context, Tensor out, const ValueRows& table, Tensor picks) {
  const std::int64_t pieces = pieces_of_row(table);
  in_order_kernel<<<grid_size(ceil_divide(picks.size() * pieces, copying_threads)), copying_threads,
                    0, context.stream>>>(static_cast<uint4*>(out.data()),
                                         reinterpret_cast<const uint4*>(table.hi),
                                         picks.as<std::int32_t>(), picks.size(), pieces);
  MEMENGINE_LAUNCH_CHECK("ladders: in_order");
}

}  // namespace memengine::ladders::cuda
