// Attention and its gradient from the definition, in double, with all probabilities of a row held.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"

namespace memengine {

struct AttentionReference {
  std::vector<double> out, log_sum_exp, dqkv;  // as in attention.h

  AttentionReference(const std::vector<double>& qkv, const std::vector<double>& dout,
                     const std::vector<std::int32_t>& first_visible, std::int64_t batch,
                     std::int64_t length, const AttentionShape& shape)
      : out(dout.size()),
        log_sum_exp(static_cast<std::size_t>(batch * shape.heads * length)),
        dqkv(qkv.size()) {
    const auto [heads, kv_heads, head_dim] = shape;
    const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t kv = h / (heads / kv_heads);
        const auto packed = [&](std::int64_t t, std::int64_t head) {
          return ((b * length + t) * (heads + 2 * kv_heads) + head) * head_dim;
        };
        for (std::int64_t t = 0; t < length; ++t) {
          const std::int64_t first = first_visible[static_cast<std::size_t>(b * length + t)];
          const double* query = &qkv[static_cast<std::size_t>(packed(t, h))];
          const auto out_at = static_cast<std::size_t>(((b * length + t) * heads + h) * head_dim);
          std::vector<double> probability;
          double largest = -INFINITY;
          for (std::int64_t s = first; s <= t; ++s) {
            const double* key = &qkv[static_cast<std::size_t>(packed(s, heads + kv))];
            probability.push_back(scale * dot(query, key, head_dim));
            largest = std::max(largest, probability.back());
          }
          double total = 0;
          for (double& p : probability) total += p = std::exp(p - largest);
          log_sum_exp[static_cast<std::size_t>((b * heads + h) * length + t)] =
              largest + std::log(total);
          std::vector<double> dprobability;
          double expected_gradient = 0;  // sum_s p_s dp_s
          for (std::int64_t s = first; s <= t; ++s) {
            double& p = probability[static_cast<std::size_t>(s - first)];
            p /= total;
            const auto value = static_cast<std::size_t>(packed(s, heads + kv_heads + kv));
            for (std::int64_t d = 0; d < head_dim; ++d) {
              const auto i = static_cast<std::size_t>(d);
              out[out_at + i] += p * qkv[value + i];
              dqkv[value + i] += p * dout[out_at + i];
            }
            dprobability.push_back(dot(&dout[out_at], &qkv[value], head_dim));
            expected_gradient += p * dprobability.back();
          }
          for (std::int64_t s = first; s <= t; ++s) {
            const auto j = static_cast<std::size_t>(s - first);
            const double dscore = scale * probability[j] * (dprobability[j] - expected_gradient);
            const auto key = static_cast<std::size_t>(packed(s, heads + kv));
            const auto from = static_cast<std::size_t>(packed(t, h));
            for (std::size_t d = 0; d < static_cast<std::size_t>(head_dim); ++d) {
              dqkv[from + d] += dscore * qkv[key + d];
              dqkv[key + d] += dscore * query[d];
            }
          }
        }
      }
    }
  }

 private:
  static double dot(const double* a, const double* b, std::int64_t count) {
    double sum = 0;
    for (std::int64_t d = 0; d < count; ++d) sum += a[d] * b[d];
    return sum;
  }
};

}  // namespace memengine
