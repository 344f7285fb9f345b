// Layer normalisation of each head's query on CUDA, each direction in one pass over memory: a row
// [k_dim] of (token, head) stays in the registers of one warp (or one block, when it is long).
//
// Variance is summed from the centred values, so a large mean costs no digits. Backward, with
// xhat = (x - mean) * inverse_std and g = dout * weight:
//
//     dx = inverse_std * (g - mean(g) - xhat * mean(g * xhat))
//     dweight[h] += sum_n dout * xhat,   dbias[h] += sum_n dout
//
// A backward block stays with one head, so that its part of dweight and dbias fits in registers.
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/row_chunks.cuh"

namespace memengine::cuda {
namespace {

constexpr float layer_epsilon = 1e-5F;

template <typename T, int width, int team, int chunks>
__global__ void __launch_bounds__(row_block_threads(team))
    forward_kernel(T* out, float* mean_out, float* inverse_std, const T* x, const float* weight,
                   const float* bias, std::int64_t rows, int heads, int features) {
  constexpr int teams = row_block_threads(team) / team;
  const int member = static_cast<int>(threadIdx.x) % team;
  const std::int64_t row = std::int64_t{blockIdx.x} * teams + threadIdx.x / team;
  if (row >= rows) return;  // a whole team
  const std::int64_t first = row * features;
  const int first_parameter = static_cast<int>(row % heads) * features;
  const float mean_factor = 1.0F / static_cast<float>(features);

  float values[chunks][width] = {};
  float total = 0;
  for_each_chunk<width, team, chunks>(member, features, [&](int chunk, int column) {
    load(x + first + column, values[chunk]);
#pragma unroll
    for (int i = 0; i < width; ++i) total += values[chunk][i];
  });
  const float mean = team_sum<team>(total) * mean_factor;

  float square_sum = 0;
  for_each_chunk<width, team, chunks>(member, features, [&](int chunk, int column) {
#pragma unroll
    for (int i = 0; i < width; ++i) {
      values[chunk][i] -= mean;
      square_sum += values[chunk][i] * values[chunk][i];
    }
  });
  const float scale = 1.0F / sqrtf(team_sum<team>(square_sum) * mean_factor + layer_epsilon);
  if (member == 0) {
    mean_out[row] = mean;
    inverse_std[row] = scale;
  }

  for_each_chunk<width, team, chunks>(member, features, [&](int chunk, int column) {
    float factor[width];
    float shift[width];
    load(weight + first_parameter + column, factor);
    load(bias + first_parameter + column, shift);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      values[chunk][i] = values[chunk][i] * scale * factor[i] + shift[i];
    }
    store(out + first + column, values[chunk]);
  });
}

// Block (b, head): the tokens b * teams + team, then every gridDim.x * teams further on. dx may be
// dout: an element is read and written by the same thread, in this order.
template <typename T, int width, int team, int chunks>
__global__ void __launch_bounds__(row_block_threads(team))
    backward_kernel(T* dx, float* dweight_partials, float* dbias_partials, const T* dout,
                    const T* x, const float* mean_in, const float* inverse_std, const float* weight,
                    std::int64_t tokens, int features) {
  constexpr int teams = row_block_threads(team) / team;
  const int member = static_cast<int>(threadIdx.x) % team;
  const int my_team = static_cast<int>(threadIdx.x) / team;
  const std::int64_t heads = gridDim.y;
  const int head = static_cast<int>(blockIdx.y);
  const float mean_factor = 1.0F / static_cast<float>(features);
  float dweight[chunks][width] = {};
  float dbias[chunks][width] = {};

  for (std::int64_t token = std::int64_t{blockIdx.x} * teams + my_team; token < tokens;
       token += std::int64_t{gridDim.x} * teams) {
    const std::int64_t row = token * heads + head;
    const std::int64_t first = row * features;
    Pack<T, width> x_row[chunks];
    Pack<T, width> dout_row[chunks];
    for_each_chunk<width, team, chunks>(member, features, [&](int chunk, int column) {
      x_row[chunk] = load<width>(x + first + column);
      dout_row[chunk] = load<width>(dout + first + column);
    });
    const float mean = mean_in[row];
    const float scale = inverse_std[row];

    float g_sum = 0;
    float g_xhat_sum = 0;
    for_each_chunk<width, team, chunks>(member, features, [&](int chunk, int column) {
      float factor[width];
      load(weight + head * features + column, factor);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const float xhat = (x_row[chunk][i] - mean) * scale;
        const float gradient = dout_row[chunk][i];
        dbias[chunk][i] += gradient;
        dweight[chunk][i] += gradient * xhat;
        g_sum += gradient * factor[i];
        g_xhat_sum += gradient * factor[i] * xhat;
      }
    });
    const float g_mean = team_sum<team>(g_sum) * mean_factor;
    const float g_xhat_mean = team_sum<team>(g_xhat_sum) * mean_factor;

    for_each_chunk<width, team, chunks>(member, features, [&](int chunk, int column) {
      float factor[width];
      load(weight + head * features + column, factor);
      float gradient[width];
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const float xhat = (x_row[chunk][i] - mean) * scale;
        gradient[i] = scale * (dout_row[chunk][i] * factor[i] - g_mean - xhat * g_xhat_mean);
      }
      store(dx + first + column, gradient);
    });
  }

  const std::int64_t partial = (std::int64_t{blockIdx.x} * heads + head) * features;
  store_sum_of_teams<width, team>(dweight_partials + partial, dweight, features);
  store_sum_of_teams<width, team>(dbias_partials + partial, dbias, features);
}

}  // namespace

void layer_norm_forward(const Context& context, Tensor out, Tensor mean, Tensor inverse_std,
                        Tensor x, Tensor weight, Tensor bias) {
  const std::int64_t heads = weight.dim(0);
  const std::int64_t features = weight.dim(1);
  const std::int64_t rows = x.size() / features;
  if (rows == 0) return;
  dispatch_storage("layer_norm_forward", x.dtype(), [&]<typename T>() {
    const bool vectors =
        in_vectors<T>(features, {out.data(), x.data(), weight.data(), bias.data()});
    dispatch_row<T>("layer_norm", features, vectors, [&]<int width, int team, int chunks>() {
      constexpr int threads = row_block_threads(team);
      forward_kernel<T, width, team, chunks>
          <<<grid_size(ceil_divide(rows, threads / team)), threads, 0, context.stream>>>(
              out.as<T>(), mean.as<float>(), inverse_std.as<float>(), x.as<T>(), weight.as<float>(),
              bias.as<float>(), rows, static_cast<int>(heads), static_cast<int>(features));
    });
  });
  MEMENGINE_LAUNCH_CHECK("layer_norm_forward");
}

void layer_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dbias,
                         Tensor dout, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight) {
  const std::int64_t heads = weight.dim(0);
  const std::int64_t features = weight.dim(1);
  const std::int64_t tokens = x.size() / (heads * features);
  if (tokens == 0) return;
  Scratch scratch(context);
  auto* dweight_partials = scratch.take<float>(max_partials * heads * features);
  auto* dbias_partials = scratch.take<float>(max_partials * heads * features);
  dispatch_storage("layer_norm_backward", x.dtype(), [&]<typename T>() {
    const bool vectors = in_vectors<T>(features, {dx.data(), dout.data(), x.data(), weight.data()});
    dispatch_row<T>("layer_norm", features, vectors, [&]<int width, int team, int chunks>() {
      constexpr int threads = row_block_threads(team);
      const std::int64_t blocks =
          std::min(ceil_divide(tokens, threads / team), ceil_divide(max_partials, heads));
      const dim3 grid(grid_size(blocks), static_cast<unsigned>(heads));
      backward_kernel<T, width, team, chunks><<<grid, threads, 0, context.stream>>>(
          dx.as<T>(), dweight_partials, dbias_partials, dout.as<T>(), x.as<T>(), mean.as<float>(),
          inverse_std.as<float>(), weight.as<float>(), tokens, static_cast<int>(features));
      MEMENGINE_LAUNCH_CHECK("layer_norm_backward");
      if (dweight.empty()) return;
      add_partial_rows(context, dweight.as<float>(), dweight_partials, blocks, heads * features);
      add_partial_rows(context, dbias.as<float>(), dbias_partials, blocks, heads * features);
    });
  });
}

std::int64_t layer_norm_scratch_bytes(std::int64_t, std::int64_t features) {
  return 2 * scratch_part<float>(max_partials * features);
}

}  // namespace memengine::cuda
