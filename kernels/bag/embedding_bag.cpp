// CPU reference of the embedding bag.
//
// Forward and the gradient of the weights compute each token by itself. The gradient of the rows
// walks the picks sorted by row, cut into chunks of equal length whatever the rows are, so that a
// row picked by every token keeps all threads as busy as a million rows picked once. A row that
// spans chunks is begun by the chunk in which it begins; each later chunk leaves what it adds to it
// in its own partial sum, and these are added at the end in the order of the chunks.
#include "kernels/bag/embedding_bag.h"

#include <algorithm>

#include "kernels/bag/bag_rows_cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"
#include "kernels/reduce.h"

namespace memengine {
namespace {

constexpr std::int64_t chunk_picks = 512;

// Rows of a table are two halves in two places, which every pick would join again. A table of few
// rows beside the picks, that a cache may hold, is joined once, into scratch.
constexpr std::int64_t most_joined = std::int64_t{1} << 20;  // elements

std::int64_t most_joined_rows(std::int64_t picks, std::int64_t v_dim) {
  return std::min(picks / 2, most_joined / v_dim);
}

// Calls body(rows) for activations of T.
template <typename T, typename Body>
void with_rows(const Context& context, const BagRows& rows, std::int64_t picks, Body&& body) {
  const std::int64_t count = rows.gathered.empty() ? rows.table.rows : 0;
  const std::int64_t v_dim = rows.table.v_dim();
  if (count == 0 || count > most_joined_rows(picks, v_dim)) return dispatch_bag_rows<T>(rows, body);
  Scratch scratch(context);
  T* joined = scratch.take<T>(count * v_dim);
  dispatch_bag_rows<T>(rows, [&](const auto& reader) {
    const std::int64_t whole = v_dim / lane_count<T> * lane_count<T>;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < count; ++row) {
      T* to = joined + row * v_dim;
      for (std::int64_t i = 0; i < whole; i += lane_count<T>) {
        store_lanes(to + i, reader.lanes(row, i));
      }
      for (std::int64_t i = whole; i < v_dim; ++i) to[i] = reader.element(row, i);
    }
  });
  body(GatheredRows<T>{joined, v_dim});
}

template <typename T, typename Rows>
void forward(T* out, const Rows& rows, const std::int32_t* indices, const T* weights,
             std::int64_t tokens, std::int64_t picks_per_token, std::int64_t v_dim) {
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < tokens; ++n) {
    const std::int64_t first = n * picks_per_token;
    weighted_sum(
        out + n * v_dim, rows, picks_per_token, v_dim,
        [&](std::int64_t k) { return weights[first + k]; },
        [&](std::int64_t k) { return indices[first + k]; });
  }
}

template <typename T, typename Rows>
void backward_weights(T* dweights, const T* dout, const Rows& rows, const std::int32_t* indices,
                      std::int64_t tokens, std::int64_t picks_per_token, std::int64_t v_dim) {
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < tokens; ++n) {
    const std::int64_t first = n * picks_per_token;
    dot_products(
        dout + n * v_dim, rows, picks_per_token, v_dim,
        [&](std::int64_t k) { return indices[first + k]; },
        [&](std::int64_t k, T dot) { dweights[first + k] = dot; });
  }
}

template <typename T>
void backward_rows(const Context& context, T* row_gradients, const T* coefficients,
                   const T* vectors, std::int64_t picks_per_token, std::int64_t v_dim,
                   const UniqueRows& unique) {
  const std::int32_t* order = unique.order.as<std::int32_t>();
  const std::int32_t* offsets = unique.offsets.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
  const std::int64_t picks = offsets[count];
  const std::int64_t chunks = (picks + chunk_picks - 1) / chunk_picks;
  Scratch scratch(context);
  T* partials = scratch.take<T>(chunks * v_dim);
  const auto per_token = static_cast<std::uint32_t>(picks_per_token);  // 32 bits divide faster
  // The last row that begins at or before sorted position i.
  const auto row_at = [&](std::int64_t i) {
    return std::upper_bound(offsets, offsets + count, static_cast<std::int32_t>(i)) - offsets - 1;
  };

#pragma omp parallel for schedule(dynamic)
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    std::int64_t i = chunk * chunk_picks;
    const std::int64_t end = std::min(i + chunk_picks, picks);
    for (std::int64_t u = row_at(i); i < end; ++u) {
      T* sum = offsets[u] < i ? partials + chunk * v_dim : row_gradients + u * v_dim;
      const std::int32_t* picked = order + i;
      const std::int64_t here = std::min<std::int64_t>(end, offsets[u + 1]) - i;
      weighted_sum(
          sum, GatheredRows<T>{vectors, v_dim}, here, v_dim,
          [&](std::int64_t k) { return coefficients[picked[k]]; },
          [&](std::int64_t k) { return static_cast<std::uint32_t>(picked[k]) / per_token; });
      i += here;
    }
  }
  for (std::int64_t chunk = 1; chunk < chunks; ++chunk) {
    const std::int64_t u = row_at(chunk * chunk_picks);
    if (offsets[u] < chunk * chunk_picks) {
      add_scaled(row_gradients + u * v_dim, T{1}, partials + chunk * v_dim, v_dim);
    }
  }
}

}  // namespace

void embedding_bag_forward(const Context& context, Tensor out, const BagRows& rows, Tensor indices,
                           Tensor weights) {
  MEMENGINE_ON_CUDA(context, cuda::embedding_bag_forward(context, out, rows, indices, weights));
  dispatch_floating(out.dtype(), [&]<typename T>() {
    with_rows<T>(context, rows, indices.size(), [&](const auto& reader) {
      forward(out.as<T>(), reader, indices.as<std::int32_t>(), weights.as<T>(), weights.dim(0),
              weights.dim(1), out.dim(1));
    });
  });
}

void embedding_bag_backward_weights(const Context& context, Tensor dweights, Tensor dout,
                                    const BagRows& rows, Tensor indices) {
  MEMENGINE_ON_CUDA(context,
                    cuda::embedding_bag_backward_weights(context, dweights, dout, rows, indices));
  dispatch_floating(dout.dtype(), [&]<typename T>() {
    with_rows<T>(context, rows, indices.size(), [&](const auto& reader) {
      backward_weights(dweights.as<T>(), dout.as<T>(), reader, indices.as<std::int32_t>(),
                       dweights.dim(0), dweights.dim(1), dout.dim(1));
    });
  });
}

void embedding_bag_backward_rows(const Context& context, Tensor row_gradients, Tensor square_sum,
                                 Tensor coefficients, Tensor vectors, const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context, cuda::embedding_bag_backward_rows(context, row_gradients, square_sum,
                                                               coefficients, vectors, unique));
  dispatch_floating(vectors.dtype(), [&]<typename T>() {
    backward_rows(context, row_gradients.as<T>(), coefficients.as<T>(), vectors.as<T>(),
                  coefficients.dim(1), vectors.dim(1), unique);
  });
  square_sum_rows(context, square_sum, row_gradients, unique.count);
}

std::int64_t embedding_bag_scratch_bytes(Device device, std::int64_t picks, std::int64_t v_dim) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::embedding_bag_scratch_bytes(picks, v_dim);
  }
  return std::max({scratch_part<double>((picks + chunk_picks - 1) / chunk_picks * v_dim),
                   scratch_part<double>(most_joined_rows(picks, v_dim) * v_dim),
                   reduce_scratch_bytes(device, picks * v_dim)});
}

}  // namespace memengine
