// Batch normalisation on CUDA. The statistics of a feature are sums over all tokens: slabs of rows
// are summed in FP32, the slabs in double, and the totals pass through the communicator.
//
// One pass over x gives mean and variance together. Plain sums of squares would lose digits where
// the mean is large, so each slab sums (x - k) and (x - k)^2 around k, its own first row, and the
// combination in double turns that back into sums of x and x^2, exactly enough:
//
//     sum x = sum (x - k) + n k,      sum x^2 = sum (x - k)^2 + 2 k sum (x - k) + n k^2
//
// Backward, with xhat = (x - mean) * inverse_std and N the tokens of all ranks:
//
//     dweight += sum dout xhat,  dbias += sum dout                     (this rank's tokens)
//     dx = weight * inverse_std * (dout - sum dout / N - xhat * sum(dout xhat) / N)   (all ranks')
#include "kernels/norm/batch_norm.h"

#include "kernels/column_sums.cuh"
#include "kernels/runtime/communicator.h"

namespace memengine::cuda {
namespace {

constexpr float epsilon = 1e-5F;
constexpr double momentum = 0.1;

// Sums of (x - k) and (x - k)^2, k = the slab's first row.
template <typename T, int width>
__global__ void __launch_bounds__(warp_size* slab_warps)
    statistics_kernel(float* partials, const T* x, std::int64_t rows, std::int64_t features) {
  const std::int64_t column = slab_column<width>();
  float k[width] = {};
  if (column < features) load(x + slab_first(rows, blockIdx.y, gridDim.y) * features + column, k);
  sum_slab<2, width>(partials, rows, features, [&](std::int64_t row, float(&sum)[2][width]) {
    float values[width];
    load(x + row * features + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float centred = values[i] - k[i];
      sum[0][i] += centred;
      sum[1][i] += centred * centred;
    }
  });
}

// Sums of dout and dout * xhat.
template <typename T, int width>
__global__ void __launch_bounds__(warp_size* slab_warps)
    gradient_sums_kernel(float* partials, const T* dout, const T* x, const float* mean,
                         const float* inverse_std, std::int64_t rows, std::int64_t features) {
  const std::int64_t column = slab_column<width>();
  float centre[width] = {};
  float scale[width] = {};
  if (column < features) {
    load(mean + column, centre);
    load(inverse_std + column, scale);
  }
  sum_slab<2, width>(partials, rows, features, [&](std::int64_t row, float(&sum)[2][width]) {
    float values[width];
    float gradient[width];
    load(x + row * features + column, values);
    load(dout + row * features + column, gradient);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      sum[0][i] += gradient[i];
      sum[1][i] += gradient[i] * ((values[i] - centre[i]) * scale[i]);
    }
  });
}

// Few features are few sums over many slabs, so a block takes eight of them, a sector of the
// partial sums of a slab, and spreads the slabs over its threads.
constexpr int block_features = 8;
constexpr int groups = 64;
constexpr int combine_warps = block_features * groups / warp_size;

dim3 combine_grid(std::int64_t features) {
  return dim3(grid_size(ceil_divide(features, block_features)));
}
dim3 combine_block() {
  return dim3(block_features, groups);
}

// sums [2, features] = both sums of a feature over all slabs, term(slab, f) each. True for the
// threads that have written theirs, their feature in `f`. Grid and block as above. Order: a thread
// takes every 64th slab, then the threads of a warp are added pairwise, then warps one by one.
template <typename Term>
__device__ __forceinline__ bool sum_slabs(double* sums, int slabs, std::int64_t features,
                                          std::int64_t& f, Term term) {
  f = std::int64_t{blockIdx.x} * block_features + threadIdx.x;
  const bool inside = f < features;
  __shared__ double2 of_warp[combine_warps][block_features];
  double2 sum = make_double2(0, 0);
  if (inside) {
#pragma unroll 4
    for (int slab = static_cast<int>(threadIdx.y); slab < slabs; slab += groups) {
      const double2 part = term(slab, f);
      sum.x += part.x;
      sum.y += part.y;
    }
  }
#pragma unroll
  for (int offset = block_features; offset < warp_size; offset *= 2) {
    sum.x += __shfl_xor_sync(0xffffffffU, sum.x, offset);
    sum.y += __shfl_xor_sync(0xffffffffU, sum.y, offset);
  }
  constexpr int groups_of_warp = warp_size / block_features;
  if (threadIdx.y % groups_of_warp == 0) of_warp[threadIdx.y / groups_of_warp][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || !inside) return false;
  sum = make_double2(0, 0);
#pragma unroll
  for (int warp = 0; warp < combine_warps; ++warp) {
    sum.x += of_warp[warp][threadIdx.x].x;
    sum.y += of_warp[warp][threadIdx.x].y;
  }
  sums[f] = sum.x;
  sums[features + f] = sum.y;
  return true;
}

// What the sums of all ranks' tokens become, feature by feature.
struct Statistics {
  float* mean;
  float* inverse_std;
  float* running_mean;
  float* running_variance;
  double tokens;

  __device__ void finish(std::int64_t f, double sum, double square_sum) const {
    const double average = sum / tokens;
    const double variance = fmax(square_sum / tokens - average * average, 0.0);
    mean[f] = static_cast<float>(average);
    inverse_std[f] = static_cast<float>(1.0 / sqrt(variance + epsilon));
    const double unbiased = tokens > 1 ? tokens / (tokens - 1) : 1.0;
    running_mean[f] = static_cast<float>((1 - momentum) * running_mean[f] + momentum * average);
    running_variance[f] =
        static_cast<float>((1 - momentum) * running_variance[f] + momentum * variance * unbiased);
  }
};

// sums [2, features] = sums of x and of x^2. `alone`: there are no other ranks, and these sums are
// all; the statistics are finished here.
template <typename T>
__global__ void __launch_bounds__(block_features* groups)
    combine_statistics_kernel(double* sums, Statistics statistics, bool alone,
                              const float* partials, const T* x, int slabs, std::int64_t rows,
                              std::int64_t features) {
  std::int64_t feature;
  const bool done = sum_slabs(sums, slabs, features, feature, [&](int slab, std::int64_t f) {
    const std::int64_t first = slab_first(rows, slab, slabs);
    const auto count = static_cast<double>(slab_first(rows, slab + 1, slabs) - first);
    const double k = load<1>(x + first * features + f)[0];
    const double centred_sum = partials[2 * slab * features + f];
    const double centred_square_sum = partials[(2 * slab + 1) * features + f];
    return make_double2(centred_sum + count * k,
                        centred_square_sum + 2.0 * k * centred_sum + count * k * k);
  });
  if (done && alone) statistics.finish(feature, sums[feature], sums[features + feature]);
}

// sums [2, features] = sums of dout and of dout * xhat, added to the parameters' gradients too.
__global__ void __launch_bounds__(block_features* groups)
    combine_gradients_kernel(double* sums, float* dweight, float* dbias, const float* partials,
                             int slabs, std::int64_t features) {
  std::int64_t f;
  const bool done = sum_slabs(sums, slabs, features, f, [&](int slab, std::int64_t feature) {
    return make_double2(partials[2 * slab * features + feature],
                        partials[(2 * slab + 1) * features + feature]);
  });
  if (!done) return;
  dbias[f] += static_cast<float>(sums[f]);
  dweight[f] += static_cast<float>(sums[features + f]);
}

constexpr int feature_threads = 128;

__global__ void __launch_bounds__(feature_threads)
    finish_statistics_kernel(Statistics statistics, const double* sums, std::int64_t features) {
  const std::int64_t f = std::int64_t{blockIdx.x} * feature_threads + threadIdx.x;
  if (f < features) statistics.finish(f, sums[f], sums[features + f]);
}

constexpr int rows_per_thread = 4;
constexpr int rows_per_block = rows_per_thread * slab_warps;

// body(r, row) for the rows of this thread.
template <typename Body>
__device__ __forceinline__ void for_each_row(std::int64_t rows, Body&& body) {
  const std::int64_t first = std::int64_t{blockIdx.x} * rows_per_block + threadIdx.y;
#pragma unroll
  for (int r = 0; r < rows_per_thread; ++r) {
    const std::int64_t row = first + r * slab_warps;
    if (row < rows) body(r, row);
  }
}

// out = (x - mean) * inverse_std * weight + bias; `spread` is inverse_std, or the variance when
// `of_variance`. Block (row group, tile): a thread keeps its features' four numbers for four rows.
template <typename T, int width, bool of_variance>
__global__ void __launch_bounds__(warp_size* slab_warps)
    normalise_kernel(T* out, const T* x, const float* mean, const float* spread,
                     const float* weight, const float* bias, std::int64_t rows,
                     std::int64_t features) {
  const std::int64_t column = (std::int64_t{blockIdx.y} * warp_size + threadIdx.x) * width;
  if (column >= features) return;
  float centre[width];
  float scale[width];
  float factor[width];
  float shift[width];
  load(mean + column, centre);
  load(spread + column, scale);
  load(weight + column, factor);
  load(bias + column, shift);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    scale[i] = (of_variance ? 1.0F / sqrtf(scale[i] + epsilon) : scale[i]) * factor[i];
  }
  Pack<T, width> values[rows_per_thread];  // all loads before the first store, which might alias
  for_each_row(
      rows, [&](int r, std::int64_t row) { values[r] = load<width>(x + row * features + column); });
  for_each_row(rows, [&](int r, std::int64_t row) {
    float result[width];
#pragma unroll
    for (int i = 0; i < width; ++i) result[i] = (values[r][i] - centre[i]) * scale[i] + shift[i];
    store(out + row * features + column, result);
  });
}

// dx may be dout: an element is read and written by the same thread, in this order.
template <typename T, int width>
__global__ void __launch_bounds__(warp_size* slab_warps)
    input_gradient_kernel(T* dx, const T* dout, const T* x, const float* mean,
                          const float* inverse_std, const float* weight, const double* sums,
                          double inverse_tokens, std::int64_t rows, std::int64_t features) {
  const std::int64_t column = (std::int64_t{blockIdx.y} * warp_size + threadIdx.x) * width;
  if (column >= features) return;
  float centre[width];
  float spread[width];
  float scale[width];
  float dout_mean[width];
  float product_mean[width];
  load(mean + column, centre);
  load(inverse_std + column, spread);
  load(weight + column, scale);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    scale[i] *= spread[i];
    dout_mean[i] = static_cast<float>(sums[column + i] * inverse_tokens);
    product_mean[i] = static_cast<float>(sums[features + column + i] * inverse_tokens);
  }
  Pack<T, width> values[rows_per_thread];
  Pack<T, width> gradients[rows_per_thread];
  for_each_row(rows, [&](int r, std::int64_t row) {
    values[r] = load<width>(x + row * features + column);
    gradients[r] = load<width>(dout + row * features + column);
  });
  for_each_row(rows, [&](int r, std::int64_t row) {
    float result[width];
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float xhat = (values[r][i] - centre[i]) * spread[i];
      result[i] = scale[i] * (gradients[r][i] - dout_mean[i] - xhat * product_mean[i]);
    }
    store(dx + row * features + column, result);
  });
}

// Calls body.template operator()<T, width>(tiles), tiles = blocks that a row of features takes.
template <typename Body>
void dispatch_columns(const char* op, DType dtype, std::int64_t features,
                      std::initializer_list<const void*> addresses, Body&& body) {
  dispatch_storage(op, dtype, [&]<typename T>() {
    const auto with_width = [&]<int width>() {
      const auto tiles =
          static_cast<unsigned>(ceil_divide(features, std::int64_t{warp_size} * width));
      body.template operator()<T, width>(tiles);
    };
    if (in_vectors<T>(features, addresses))
      with_width.template operator()<vector_width<T>>();
    else
      with_width.template operator()<1>();
  });
}

struct BatchScratch {
  double* sums;     // [2, features]
  float* partials;  // [slabs, 2, features]

  BatchScratch(const Context& context, std::int64_t slabs, std::int64_t features) {
    Scratch scratch(context);
    sums = scratch.take<double>(2 * features);
    partials = scratch.take<float>(2 * slabs * features);
  }
};

unsigned row_blocks(std::int64_t rows) {
  return grid_size(ceil_divide(rows, rows_per_block));
}

}  // namespace

void batch_norm_forward_train(const Context& context, Tensor out, Tensor mean, Tensor inverse_std,
                              Tensor running_mean, Tensor running_variance, Tensor x, Tensor weight,
                              Tensor bias) {
  const std::int64_t features = weight.size();
  const std::int64_t rows = x.size() / features;
  if (rows == 0) fail_internal("batch_norm: a batch of no tokens has no statistics");
  const auto tokens = static_cast<double>(rows * context.communicator->size());
  const bool alone = context.communicator->size() == 1;
  const Statistics statistics{mean.as<float>(), inverse_std.as<float>(), running_mean.as<float>(),
                              running_variance.as<float>(), tokens};
  const std::int64_t slabs = slab_count(rows);
  const BatchScratch scratch(context, slabs, features);
  dispatch_columns(
      "batch_norm_forward_train", x.dtype(), features,
      {out.data(), x.data(), mean.data(), inverse_std.data(), weight.data(), bias.data()},
      [&]<typename T, int width>(unsigned tiles) {
        const dim3 block = slab_block();
        statistics_kernel<T, width><<<slab_grid(rows, features, width), block, 0, context.stream>>>(
            scratch.partials, x.as<T>(), rows, features);
        MEMENGINE_LAUNCH_CHECK("batch_norm_forward_train (statistics)");
        combine_statistics_kernel<<<combine_grid(features), combine_block(), 0, context.stream>>>(
            scratch.sums, statistics, alone, scratch.partials, x.as<T>(), static_cast<int>(slabs),
            rows, features);
        MEMENGINE_LAUNCH_CHECK("batch_norm_forward_train (combine)");
        if (!alone) {
          context.communicator->all_reduce_sum(context,
                                               Tensor(scratch.sums, DType::f64, {2, features}));
          finish_statistics_kernel<<<grid_size(ceil_divide(features, feature_threads)),
                                     feature_threads, 0, context.stream>>>(statistics, scratch.sums,
                                                                           features);
          MEMENGINE_LAUNCH_CHECK("batch_norm_forward_train (finish)");
        }
        normalise_kernel<T, width, false>
            <<<dim3(row_blocks(rows), tiles), block, 0, context.stream>>>(
                out.as<T>(), x.as<T>(), mean.as<float>(), inverse_std.as<float>(),
                weight.as<float>(), bias.as<float>(), rows, features);
      });
  MEMENGINE_LAUNCH_CHECK("batch_norm_forward_train");
}

void batch_norm_forward_eval(const Context& context, Tensor out, Tensor x, Tensor running_mean,
                             Tensor running_variance, Tensor weight, Tensor bias) {
  const std::int64_t features = weight.size();
  const std::int64_t rows = x.size() / features;
  if (rows == 0) return;
  dispatch_columns("batch_norm_forward_eval", x.dtype(), features,
                   {out.data(), x.data(), running_mean.data(), running_variance.data(),
                    weight.data(), bias.data()},
                   [&]<typename T, int width>(unsigned tiles) {
                     normalise_kernel<T, width, true>
                         <<<dim3(row_blocks(rows), tiles), slab_block(), 0, context.stream>>>(
                             out.as<T>(), x.as<T>(), running_mean.as<float>(),
                             running_variance.as<float>(), weight.as<float>(), bias.as<float>(),
                             rows, features);
                   });
  MEMENGINE_LAUNCH_CHECK("batch_norm_forward_eval");
}

void batch_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dbias,
                         Tensor dout, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight) {
  const std::int64_t features = weight.size();
  const std::int64_t rows = x.size() / features;
  if (rows == 0) fail_internal("batch_norm: a batch of no tokens has no statistics");
  const auto tokens = static_cast<double>(rows * context.communicator->size());
  const std::int64_t slabs = slab_count(rows);
  const BatchScratch scratch(context, slabs, features);
  dispatch_columns(
      "batch_norm_backward", x.dtype(), features,
      {dx.data(), dout.data(), x.data(), mean.data(), inverse_std.data(), weight.data()},
      [&]<typename T, int width>(unsigned tiles) {
        const dim3 block = slab_block();
        gradient_sums_kernel<T, width>
            <<<slab_grid(rows, features, width), block, 0, context.stream>>>(
                scratch.partials, dout.as<T>(), x.as<T>(), mean.as<float>(),
                inverse_std.as<float>(), rows, features);
        MEMENGINE_LAUNCH_CHECK("batch_norm_backward (sums)");
        combine_gradients_kernel<<<combine_grid(features), combine_block(), 0, context.stream>>>(
            scratch.sums, dweight.as<float>(), dbias.as<float>(), scratch.partials,
            static_cast<int>(slabs), features);
        MEMENGINE_LAUNCH_CHECK("batch_norm_backward (combine)");
        context.communicator->all_reduce_sum(context,
                                             Tensor(scratch.sums, DType::f64, {2, features}));
        input_gradient_kernel<T, width>
            <<<dim3(row_blocks(rows), tiles), block, 0, context.stream>>>(
                dx.as<T>(), dout.as<T>(), x.as<T>(), mean.as<float>(), inverse_std.as<float>(),
                weight.as<float>(), scratch.sums, 1.0 / tokens, rows, features);
      });
  MEMENGINE_LAUNCH_CHECK("batch_norm_backward");
}

std::int64_t batch_norm_scratch_bytes(std::int64_t rows, std::int64_t features) {
  return scratch_part<double>(2 * features) + scratch_part<float>(2 * slab_count(rows) * features);
}

}  // namespace memengine::cuda
