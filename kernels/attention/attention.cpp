// Attention on the CPU, a tile of queries at a time.
//
// The keys that a tile of queries sees are one interval, from its first query's first visible key
// to its last query itself. So a tile is two matrix products around a softmax:
//
//     S = scale Q K^T    P = exp(S - lse), zero where masked    O = P V
//
// and its gradient is five, with P recomputed from the stored log-sum-exp (delta = rowsum(dO O)):
//
//     dP = dO V^T    dS = scale P (dP - delta)    dQ = dS K    dK += dS^T Q    dV += P^T dO
//
// Only one tile of S lives at a time, in the thread's scratch. Forward, a task is a tile; backward,
// a task is a key/value head, which visits the query heads of its group and their tiles in order,
// so that its sums never depend on timing.
#include "kernels/attention/attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "kernels/cpu/vector_math.h"
#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {
namespace {

constexpr std::int64_t tile_queries = 32;
// Far below every score: its exponential is zero.
template <typename T>
constexpr T masked_score = T(-1e30);

// Where things stand in packed qkv; `stride` is the distance between tokens.
struct Layout {
  std::int64_t batch, length, heads, kv_heads, head_dim, group, stride;
  double scale;

  std::int64_t query(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return (b * length + t) * stride + head * head_dim;
  }
  std::int64_t key(std::int64_t b, std::int64_t t, std::int64_t kv_head) const {
    return query(b, t, heads + kv_head);
  }
  std::int64_t value(std::int64_t b, std::int64_t t, std::int64_t kv_head) const {
    return query(b, t, heads + kv_heads + kv_head);
  }
  std::int64_t out(std::int64_t b, std::int64_t t, std::int64_t head) const {
    return ((b * length + t) * heads + head) * head_dim;
  }
  std::int64_t tiles() const { return (length + tile_queries - 1) / tile_queries; }
};

Layout layout_of(Tensor qkv, const AttentionShape& shape) {
  shape.check();
  const std::int64_t stride = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  const std::int64_t batch = qkv.dim(0);
  const std::int64_t length = qkv.dim(1);
  if (batch * length * stride != qkv.size()) {
    fail_internal("attention: qkv {} is not [B, T, {}, {}]", qkv.shape_text(),
                  shape.heads + 2 * shape.kv_heads, shape.head_dim);
  }
  return {batch,          length,
          shape.heads,    shape.kv_heads,
          shape.head_dim, shape.heads / shape.kv_heads,
          stride,         1.0 / std::sqrt(static_cast<double>(shape.head_dim))};
}

// A tile: queries [first, last), and the keys [first_key, last) that any of them sees.
struct Tile {
  std::int64_t first, last, first_key;
  const std::int32_t* first_visible;  // of the sequence; null: 0
  const std::int32_t* hidden;         // two bounds a query; null: none

  Tile(const Layout& layout, const std::int32_t* all_visible, std::int64_t b, std::int64_t index,
       const std::int32_t* all_hidden = nullptr)
      : first(index * tile_queries),
        last(std::min(layout.length, first + tile_queries)),
        first_key(0),
        first_visible(all_visible ? all_visible + b * layout.length : nullptr),
        hidden(all_hidden ? all_hidden + 2 * b * layout.length : nullptr) {
    first_key = begin(first);
  }
  std::int64_t begin(std::int64_t t) const { return first_visible ? first_visible[t] : 0; }
  std::int64_t queries() const { return last - first; }
  std::int64_t keys() const { return last - first_key; }
};

// S [queries, keys] = scale Q K^T.
template <typename T>
void tile_scores(const Layout& l, const Tile& tile, const T* qkv, std::int64_t b, std::int64_t head,
                 T* scores) {
  gemm(Transpose::no, Transpose::yes, tile.queries(), tile.keys(), l.head_dim,
       static_cast<T>(l.scale), qkv + l.query(b, tile.first, head), l.stride,
       qkv + l.key(b, tile.first_key, head / l.group), l.stride, T(0), scores, tile.keys());
}

// Row of query t: calls visit(its scores, number of keys) on the visible part, zeroes the rest.
template <typename T, typename Visit>
void visible_part(const Tile& tile, std::int64_t t, T* row, Visit visit) {
  const std::int64_t begin = tile.begin(t) - tile.first_key;
  const std::int64_t end = t - tile.first_key + 1;
  std::fill(row, row + begin, T(0));
  visit(row + begin, end - begin);
  std::fill(row + end, row + tile.keys(), T(0));
}

template <typename T>
void forward_tile(const Layout& l, const Tile& tile, T* out, T* log_sum_exp, const T* qkv,
                  std::int64_t b, std::int64_t head, T* probabilities) {
  tile_scores(l, tile, qkv, b, head, probabilities);
  for (std::int64_t t = tile.first; t < tile.last; ++t) {
    T* row = probabilities + (t - tile.first) * tile.keys();
    if (tile.hidden != nullptr && tile.hidden[2 * t] < tile.hidden[2 * t + 1]) {
      std::fill(row + tile.hidden[2 * t] - tile.first_key,
                row + tile.hidden[2 * t + 1] - tile.first_key, masked_score<T>);
    }
    visible_part(tile, t, row, [&](T* scores, std::int64_t keys) {
      T largest = scores[0];
#pragma omp simd reduction(max : largest)
      for (std::int64_t j = 0; j < keys; ++j) {
        largest = largest > scores[j] ? largest : scores[j];
      }
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (std::int64_t j = 0; j < keys; ++j) {
        scores[j] = fast_exp(scores[j] - largest);
        total += scores[j];
      }
      const T inverse = T(1) / total;
#pragma omp simd
      for (std::int64_t j = 0; j < keys; ++j) scores[j] *= inverse;
      log_sum_exp[(b * l.heads + head) * l.length + t] = largest + std::log(total);
    });
  }
  gemm(Transpose::no, Transpose::no, tile.queries(), l.head_dim, tile.keys(), T(1), probabilities,
       tile.keys(), qkv + l.value(b, tile.first_key, head / l.group), l.stride, T(0),
       out + l.out(b, tile.first, head), l.heads * l.head_dim);
}

template <typename T>
void backward_tile(const Layout& l, const Tile& tile, T* dqkv, const T* dout, const T* qkv,
                   const T* out, const T* log_sum_exp, std::int64_t b, std::int64_t head,
                   T* probabilities, T* gradient) {
  const std::int64_t kv_head = head / l.group;
  const std::int64_t out_stride = l.heads * l.head_dim;
  const T* query = qkv + l.query(b, tile.first, head);
  const T* dout_tile = dout + l.out(b, tile.first, head);
  tile_scores(l, tile, qkv, b, head, probabilities);
  gemm(Transpose::no, Transpose::yes, tile.queries(), tile.keys(), l.head_dim, T(1), dout_tile,
       out_stride, qkv + l.value(b, tile.first_key, kv_head), l.stride, T(0), gradient,
       tile.keys());
  for (std::int64_t t = tile.first; t < tile.last; ++t) {
    const T* out_row = out + l.out(b, t, head);
    const T* dout_row = dout + l.out(b, t, head);
    T delta = 0;
#pragma omp simd reduction(+ : delta)
    for (std::int64_t d = 0; d < l.head_dim; ++d) delta += dout_row[d] * out_row[d];
    const T lse = log_sum_exp[(b * l.heads + head) * l.length + t];
    const T scale = static_cast<T>(l.scale);
    const std::int64_t row = (t - tile.first) * tile.keys();
    visible_part(tile, t, probabilities + row, [&](T* p, std::int64_t keys) {
#pragma omp simd
      for (std::int64_t j = 0; j < keys; ++j) p[j] = fast_exp(p[j] - lse);
      visible_part(tile, t, gradient + row, [&](T* ds, std::int64_t) {
#pragma omp simd
        for (std::int64_t j = 0; j < keys; ++j) ds[j] = scale * p[j] * (ds[j] - delta);
      });
    });
  }
  gemm(Transpose::no, Transpose::no, tile.queries(), l.head_dim, tile.keys(), T(1), gradient,
       tile.keys(), qkv + l.key(b, tile.first_key, kv_head), l.stride, T(0),
       dqkv + l.query(b, tile.first, head), l.stride);
  gemm(Transpose::yes, Transpose::no, tile.keys(), l.head_dim, tile.queries(), T(1), gradient,
       tile.keys(), query, l.stride, T(1), dqkv + l.key(b, tile.first_key, kv_head), l.stride);
  gemm(Transpose::yes, Transpose::no, tile.keys(), l.head_dim, tile.queries(), T(1), probabilities,
       tile.keys(), dout_tile, out_stride, T(1), dqkv + l.value(b, tile.first_key, kv_head),
       l.stride);
}

}  // namespace

void AttentionShape::check() const {
  if (kv_heads < 1 || heads % kv_heads || head_dim < 2 || head_dim % 2 || head_dim > max_head_dim) {
    fail_internal("attention: {} heads, {} key/value heads, head_dim {} (even, at most {})", heads,
                  kv_heads, head_dim, max_head_dim);
  }
}

void visible_range(const Context& context, Tensor first_visible, Tensor document_start,
                   std::int64_t window) {
  MEMENGINE_ON_CUDA(context, cuda::visible_range(context, first_visible, document_start, window));
  const std::int64_t length = first_visible.dim(1);
  std::int32_t* visible = first_visible.as<std::int32_t>();
  const std::int32_t* start = document_start.empty() ? nullptr : document_start.as<std::int32_t>();
  for (std::int64_t i = 0; i < first_visible.size(); ++i) {
    const std::int64_t in_window = window > 0 ? i % length - window + 1 : 0;
    visible[i] =
        static_cast<std::int32_t>(std::max<std::int64_t>({start ? start[i] : 0, in_window, 0}));
  }
}

void attention_forward(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
                       Tensor first_visible, const AttentionShape& shape, Tensor hidden) {
  MEMENGINE_ON_CUDA(context, cuda::attention_forward(context, out, log_sum_exp, qkv, first_visible,
                                                     shape, hidden));
  const Layout l = layout_of(qkv, shape);
  const std::int32_t* visible = first_visible.empty() ? nullptr : first_visible.as<std::int32_t>();
  const std::int32_t* hidden_keys = hidden.empty() ? nullptr : hidden.as<std::int32_t>();
  const std::int64_t tiles = l.tiles();
  dispatch_floating(qkv.dtype(), [&]<typename T>() {
    const std::int64_t part = tile_queries * l.length;
    T* scratch = Scratch(context).take<T>(omp_get_max_threads() * part);
    T* values = out.as<T>();
    T* row_lse = log_sum_exp.as<T>();
    const T* packed = qkv.as<T>();
    // The last tiles see the most keys: they go first.
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t task = 0; task < tiles * l.batch * l.heads; ++task) {
      const std::int64_t sequence_head = task % (l.batch * l.heads);
      const std::int64_t b = sequence_head / l.heads;
      const Tile tile(l, visible, b, tiles - 1 - task / (l.batch * l.heads), hidden_keys);
      forward_tile(l, tile, values, row_lse, packed, b, sequence_head % l.heads,
                   scratch + omp_get_thread_num() * part);
    }
  });
}

void attention_backward(const Context& context, Tensor dqkv, Tensor dout, Tensor qkv, Tensor out,
                        Tensor log_sum_exp, Tensor first_visible, const AttentionShape& shape,
                        const AttentionRotation& rotation) {
  MEMENGINE_ON_CUDA(context, cuda::attention_backward(context, dqkv, dout, qkv, out, log_sum_exp,
                                                      first_visible, shape, rotation));
  const Layout l = layout_of(qkv, shape);
  const std::int32_t* visible = first_visible.empty() ? nullptr : first_visible.as<std::int32_t>();
  dispatch_floating(qkv.dtype(), [&]<typename T>() {
    const std::int64_t part = tile_queries * l.length;
    T* scratch = Scratch(context).take<T>(2 * omp_get_max_threads() * part);
    T* gradient = dqkv.as<T>();
    const T* dvalues = dout.as<T>();
    const T* packed = qkv.as<T>();
    const T* values = out.as<T>();
    const T* row_lse = log_sum_exp.as<T>();
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t task = 0; task < l.batch * l.kv_heads; ++task) {
      const std::int64_t b = task / l.kv_heads;
      const std::int64_t kv_head = task % l.kv_heads;
      T* probabilities = scratch + 2 * omp_get_thread_num() * part;
      for (std::int64_t t = 0; t < l.length; ++t) {
        std::fill_n(gradient + l.key(b, t, kv_head), l.head_dim, T(0));
        std::fill_n(gradient + l.value(b, t, kv_head), l.head_dim, T(0));
      }
      for (std::int64_t head = kv_head * l.group; head < (kv_head + 1) * l.group; ++head) {
        for (std::int64_t index = 0; index < l.tiles(); ++index) {
          backward_tile(l, Tile(l, visible, b, index), gradient, dvalues, packed, values, row_lse,
                        b, head, probabilities, probabilities + part);
        }
      }
    }
  });
  if (rotation.positions.empty()) return;
  rope_backward(context, dqkv.reshape({l.batch * l.length, l.heads + 2 * l.kv_heads, l.head_dim}),
                rotation.positions, l.heads + l.kv_heads, rotation.angles);
}

std::int64_t attention_scratch_bytes(Device device, DType dtype, std::int64_t batch,
                                     std::int64_t length, const AttentionShape& shape) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::attention_scratch_bytes(dtype, batch, length, shape);
  }
  return scratch_part<double>(2 * omp_get_max_threads() * tile_queries * length);
}

}  // namespace memengine
