// RMSNorm on CUDA, each direction in one pass over memory: a row [C] stays in the registers of one
// warp (or of one block, when it is long) from its only read to its only write.
//
// Forward reads x and the branch and writes their sum and its norm. Backward reads dout, x and the
// residual's gradient and writes dx; with xhat = x * inverse_rms and g = dout * weight
//
//     dx = dresidual + inverse_rms * (g - xhat * mean(g * xhat)),    dweight += sum_n dout * xhat
//
// Each backward block keeps the weight gradient of its rows in registers and leaves one partial
// row.
#include "kernels/norm/rms_norm.h"
#include "kernels/norm/row_chunks.cuh"

namespace memengine::cuda {
namespace {

// Most blocks of a backward pass: four for each multiprocessor, so that enough rows are under way.
constexpr std::int64_t partial_rows = 2 * max_partials;

template <typename T, int width, int team, int chunks>
__global__ void __launch_bounds__(row_block_threads(team))
    forward_kernel(T* out, T* sum, float* inverse_rms, const T* x, const T* branch,
                   Parameters<T> weight, std::int64_t rows, int channels, float epsilon) {
  constexpr int teams = row_block_threads(team) / team;
  const int member = static_cast<int>(threadIdx.x) % team;
  const std::int64_t row = std::int64_t{blockIdx.x} * teams + threadIdx.x / team;
  if (row >= rows) return;  // a whole team
  const std::int64_t first = row * channels;

  float values[chunks][width] = {};
  for_each_chunk<width, team, chunks>(
      member, channels, [&](int chunk, int column) { load(x + first + column, values[chunk]); });
  if (branch != nullptr) {
    Pack<T, width> addend[chunks];  // all loads before the first store, which might alias them
    for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
      addend[chunk] = load<width>(branch + first + column);
    });
    for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        values[chunk][i] = rounded<T>(values[chunk][i] + addend[chunk][i]);
      }
      store(sum + first + column, values[chunk]);
    });
  }

  float square_sum = 0;
#pragma unroll
  for (int chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
    for (int i = 0; i < width; ++i) square_sum += values[chunk][i] * values[chunk][i];
  }
  square_sum = team_sum<team>(square_sum);
  const float scale = 1.0F / sqrtf(square_sum / static_cast<float>(channels) + epsilon);
  if (member == 0) inverse_rms[row] = scale;

  for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
    float factor[width];
    weight.load(column, factor);
#pragma unroll
    for (int i = 0; i < width; ++i) values[chunk][i] *= scale * factor[i];
    store(out + first + column, values[chunk]);
  });
}

// dresidual may be dx: an element is read and written by the same thread, in this order.
template <typename T, int width, int team, int chunks>
__global__ void __launch_bounds__(row_block_threads(team), team == 1024 ? 1 : 2)
    backward_kernel(T* dx, float* dweight_partials, const T* dout, const T* dresidual, const T* x,
                    const float* inverse_rms, Parameters<T> weight, std::int64_t rows,
                    int channels) {
  constexpr int teams = row_block_threads(team) / team;
  const int member = static_cast<int>(threadIdx.x) % team;
  const int my_team = static_cast<int>(threadIdx.x) / team;
  const float mean_factor = 1.0F / static_cast<float>(channels);
  float dweight[chunks][width] = {};

  for (std::int64_t row = std::int64_t{blockIdx.x} * teams + my_team; row < rows;
       row += std::int64_t{gridDim.x} * teams) {
    const std::int64_t first = row * channels;
    Pack<T, width> x_row[chunks];
    Pack<T, width> dout_row[chunks];
    for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
      x_row[chunk] = load<width>(x + first + column);
      dout_row[chunk] = load<width>(dout + first + column);
    });
    const float scale = inverse_rms[row];

    float dot = 0;
    for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
      float factor[width];
      weight.load(column, factor);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const float product = dout_row[chunk][i] * (x_row[chunk][i] * scale);
        dweight[chunk][i] += product;
        dot += product * factor[i];
      }
    });
    const float mean = team_sum<team>(dot) * mean_factor;

    Pack<T, width> residual_row[chunks];  // all loads before the first store, which may be to dx
    if (dresidual != nullptr) {
      for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
        residual_row[chunk] = load<width>(dresidual + first + column);
      });
    }

    for_each_chunk<width, team, chunks>(member, channels, [&](int chunk, int column) {
      float factor[width];
      weight.load(column, factor);
      float gradient[width];
#pragma unroll
      for (int i = 0; i < width; ++i) {
        gradient[i] = scale * (dout_row[chunk][i] * factor[i] - x_row[chunk][i] * scale * mean);
        if (dresidual != nullptr) gradient[i] += residual_row[chunk][i];
      }
      store(dx + first + column, gradient);
    });
  }

  float* partial = dweight_partials + std::int64_t{blockIdx.x} * channels;
  store_sum_of_teams<width, team>(partial, dweight, channels);
}

}  // namespace

void rms_norm_forward(const Context& context, Tensor out, Tensor sum, Tensor inverse_rms, Tensor x,
                      Tensor branch, Tensor weight, double epsilon) {
  const std::int64_t channels = weight.size();
  const std::int64_t rows = x.size() / channels;
  if (rows == 0) return;
  dispatch_storage("rms_norm_forward", x.dtype(), [&]<typename T>() {
    const bool fused = !branch.empty();
    const bool vectors =
        in_vectors<T>(channels, {out.data(), sum.data(), x.data(), branch.data(), weight.data()});
    dispatch_row<T>("rms_norm", channels, vectors, [&]<int width, int team, int chunks>() {
      constexpr int threads = row_block_threads(team);
      forward_kernel<T, width, team, chunks>
          <<<grid_size(ceil_divide(rows, threads / team)), threads, 0, context.stream>>>(
              out.as<T>(), fused ? sum.as<T>() : nullptr, inverse_rms.as<float>(), x.as<T>(),
              fused ? branch.as<T>() : nullptr, parameters_of<T>(weight), rows,
              static_cast<int>(channels), static_cast<float>(epsilon));
    });
  });
  MEMENGINE_LAUNCH_CHECK("rms_norm_forward");
}

void rms_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dout,
                       Tensor dresidual, Tensor x, Tensor inverse_rms, Tensor weight) {
  const std::int64_t channels = weight.size();
  const std::int64_t rows = x.size() / channels;
  if (rows == 0) return;
  auto* partials = Scratch(context).take<float>(partial_rows * channels);
  dispatch_storage("rms_norm_backward", x.dtype(), [&]<typename T>() {
    const bool vectors = in_vectors<T>(
        channels, {dx.data(), dout.data(), dresidual.data(), x.data(), weight.data()});
    dispatch_row<T>("rms_norm", channels, vectors, [&]<int width, int team, int chunks>() {
      constexpr int threads = row_block_threads(team);
      const std::int64_t blocks = std::min(ceil_divide(rows, threads / team), partial_rows);
      backward_kernel<T, width, team, chunks><<<grid_size(blocks), threads, 0, context.stream>>>(
          dx.as<T>(), partials, dout.as<T>(), dresidual.empty() ? nullptr : dresidual.as<T>(),
          x.as<T>(), inverse_rms.as<float>(), parameters_of<T>(weight), rows,
          static_cast<int>(channels));
      MEMENGINE_LAUNCH_CHECK("rms_norm_backward");
      if (dweight.empty()) return;
      add_partial_rows(context, dweight.as<float>(), partials, blocks, channels);
    });
  });
}

std::int64_t rms_norm_scratch_bytes(std::int64_t, std::int64_t channels) {
  return scratch_part<float>(partial_rows * channels);
}

}  // namespace memengine::cuda
