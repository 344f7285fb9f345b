// Rotary position embedding on the CPU: pair i of a head turns by position * theta^(-2i /
// head_dim).
//
//     x'_2i   = x_2i cos - x_2i+1 sin
//     x'_2i+1 = x_2i sin + x_2i+1 cos
//
// A token's cosines and sines are computed once and serve all its heads.
#include "kernels/rope.h"

#include <array>
#include <cmath>

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"

namespace memengine {
namespace {

constexpr std::int64_t max_head_dim = 512;

// direction +1 rotates, -1 rotates back.
template <typename T>
void rotate(T* qkv, const std::int32_t* positions, std::int64_t tokens, std::int64_t all_heads,
            std::int64_t head_dim, std::int64_t rotated_heads, const RopeAngles& angles,
            double direction) {
  const std::int64_t pairs = head_dim / 2;
  std::array<float, max_head_dim / 2> frequency{};
  for (std::int64_t i = 0; i < pairs; ++i) {
    frequency[static_cast<std::size_t>(i)] = rope_frequency(angles, i, head_dim);
  }
#pragma omp parallel for if (tokens * rotated_heads * head_dim > worth_sharing)
  for (std::int64_t n = 0; n < tokens; ++n) {
    T cosine[max_head_dim / 2];
    T sine[max_head_dim / 2];
    for (std::int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(positions[n]) * frequency[static_cast<std::size_t>(i)];
      cosine[i] = static_cast<T>(std::cos(angle));
      sine[i] = static_cast<T>(direction) * static_cast<T>(std::sin(angle));
    }
    T* token = qkv + n * all_heads * head_dim;
    for (std::int64_t head = 0; head < rotated_heads; ++head) {
      T* x = token + head * head_dim;
#pragma omp simd
      for (std::int64_t i = 0; i < pairs; ++i) {
        const T even = x[2 * i];
        const T odd = x[2 * i + 1];
        x[2 * i] = even * cosine[i] - odd * sine[i];
        x[2 * i + 1] = even * sine[i] + odd * cosine[i];
      }
    }
  }
}

void rotate(Tensor qkv, Tensor positions, std::int64_t rotated_heads, const RopeAngles& angles,
            double direction) {
  const std::int64_t tokens = positions.size();
  const std::int64_t head_dim = qkv.dim(qkv.rank() - 1);
  const std::int64_t all_heads = qkv.dim(qkv.rank() - 2);
  if (head_dim % 2 || head_dim > max_head_dim) {
    fail_internal("rope: head_dim {} is odd or above {}", head_dim, max_head_dim);
  }
  if (tokens * all_heads * head_dim != qkv.size() || rotated_heads > all_heads) {
    fail_internal("rope: {} heads of qkv {} at {} positions", rotated_heads, qkv.shape_text(),
                  tokens);
  }
  dispatch_floating(qkv.dtype(), [&]<typename T>() {
    rotate(qkv.as<T>(), positions.as<std::int32_t>(), tokens, all_heads, head_dim, rotated_heads,
           angles, direction);
  });
}

}  // namespace

float rope_frequency(const RopeAngles& angles, std::int64_t i, std::int64_t head_dim) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  const float frequency = 1.0F / std::pow(static_cast<float>(angles.theta), exponent);
  const RopeScaling& scaling = angles.scaling;
  const float divided = frequency / static_cast<float>(scaling.factor);
  if (scaling.type == RopeScalingType::none) return frequency;
  if (scaling.type == RopeScalingType::linear) return divided;
  const auto original = static_cast<float>(scaling.original_max_position_embeddings);
  const auto low = static_cast<float>(scaling.low_freq_factor);
  const auto high = static_cast<float>(scaling.high_freq_factor);
  const float wavelength = static_cast<float>(2 * M_PI) / frequency;
  if (wavelength > original / low) return divided;
  if (wavelength < original / high) return frequency;
  const float share = (original / wavelength - low) / (high - low);
  return (1 - share) * divided + share * frequency;
}

void rope_forward(const Context& context, Tensor qkv, Tensor positions, std::int64_t rotated_heads,
                  const RopeAngles& angles) {
  MEMENGINE_ON_CUDA(context, cuda::rope_forward(context, qkv, positions, rotated_heads, angles));
  rotate(qkv, positions, rotated_heads, angles, 1.0);
}

void rope_backward(const Context& context, Tensor dqkv, Tensor positions,
                   std::int64_t rotated_heads, const RopeAngles& angles) {
  MEMENGINE_ON_CUDA(context, cuda::rope_backward(context, dqkv, positions, rotated_heads, angles));
  rotate(dqkv, positions, rotated_heads, angles, -1.0);
}

}  // namespace memengine
