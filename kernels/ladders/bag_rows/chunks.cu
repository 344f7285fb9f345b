// Third rung: a warp for every 64 sorted picks, whatever rows they are of, so that all warps have
// the same work. A row that begins in a chunk is written by it; what the first picks of a chunk add
// to a row of the chunk before is left as its partial sum, and a second kernel adds these up, row
// by row. kernels/bag/segment_sum.cuh does the same by more columns per thread, with eight vectors
// under way.
#include "kernels/device_math.cuh"
#include "kernels/ladders/bag_rows/rungs.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int chunk_threads = 128;
constexpr int chunk_warps = chunk_threads / warp_size;

__global__ void __launch_bounds__(chunk_threads)
    chunk_kernel(float* row_gradients, float* partials, const bfloat16* coefficients,
                 const bfloat16* vectors, const std::int32_t* order, const std::int32_t* places,
                 std::int64_t picks, int per_token, int columns) {
  const std::int64_t chunk = std::int64_t{blockIdx.x} * chunk_warps + threadIdx.x / warp_size;
  const std::int64_t first = chunk * chunk_picks;
  const std::int64_t end = min(first + chunk_picks, picks);
  for (int column = static_cast<int>(threadIdx.x) % warp_size; first < end && column < columns;
       column += warp_size) {
    std::int32_t row = places[first];
    bool continued = first > 0 && places[first - 1] == row;
    float sum = 0;
    const auto finish = [&] {
      if (continued)
        partials[chunk * columns + column] = sum;
      else
        row_gradients[std::int64_t{row} * columns + column] = sum;
    };
    for (std::int64_t place = first; place < end; ++place) {
      if (places[place] != row) {
        finish();
        row = places[place];
        continued = false;
        sum = 0;
      }
      const std::int32_t pick = order[place];
      sum += to_float(coefficients[pick]) *
             to_float(vectors[std::int64_t{pick / per_token} * columns + column]);
    }
    finish();
  }
}

// A warp for each row: the partial sums of the chunks after the one in which it begins.
__global__ void __launch_bounds__(chunk_threads)
    add_partials_kernel(float* row_gradients, const float* partials, const std::int32_t* offsets,
                        const std::int32_t* count, int columns) {
  const std::int64_t row = std::int64_t{blockIdx.x} * chunk_warps + threadIdx.x / warp_size;
  if (row >= *count) return;
  const std::int32_t first = offsets[row] / chunk_picks;
  const std::int32_t last = (offsets[row + 1] - 1) / chunk_picks;
  if (first == last) return;
  for (int column = static_cast<int>(threadIdx.x) % warp_size; column < columns;
       column += warp_size) {
    float sum = row_gradients[row * columns + column];
    for (std::int64_t chunk = first + 1; chunk <= last; ++chunk) {
      sum += partials[chunk * columns + column];
    }
    row_gradients[row * columns + column] = sum;
  }
}

}  // namespace

void chunks(const Context& context, Tensor row_gradients, Tensor coefficients, Tensor vectors,
            const UniqueRows& unique) {
  const std::int64_t picks = coefficients.size(), columns = vectors.dim(1);
  const std::int64_t all_chunks = ceil_divide(picks, chunk_picks);
  auto* partials = Scratch(context).take<float>(all_chunks * columns);
  chunk_kernel<<<grid_size(ceil_divide(all_chunks, chunk_warps)), chunk_threads, 0,
                 context.stream>>>(
      row_gradients.as<float>(), partials, coefficients.as<bfloat16>(), vectors.as<bfloat16>(),
      unique.order.as<std::int32_t>(), unique.places.as<std::int32_t>(), picks,
      static_cast<int>(coefficients.dim(1)), static_cast<int>(columns));
  MEMENGINE_LAUNCH_CHECK("ladders: chunks");
  add_partials_kernel<<<grid_size(ceil_divide(unique.capacity(), chunk_warps)), chunk_threads, 0,
                        context.stream>>>(
      row_gradients.as<float>(), partials, unique.offsets.as<std::int32_t>(),
      unique.count.as<std::int32_t>(), static_cast<int>(columns));
  MEMENGINE_LAUNCH_CHECK("ladders: chunks (partial sums)");
}

}  // namespace memengine::ladders::cuda
