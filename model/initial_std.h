// Names of a layer's parameters and the standard deviation they start with.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/runtime/error.h"
#include "model/model_config.h"

namespace memengine {

// sigma = init_base_std, or fan_in^-1/2.
inline double initial_std(const ModelConfig& config, std::int64_t fan_in) {
  return config.init_base_std.value_or(1.0 / std::sqrt(static_cast<double>(fan_in)));
}

// The same for a matrix whose output is added to the residual state (wo, w2), divided by what
// init_std_factor asks for, as the reference does.
inline double residual_std(const ModelConfig& config, std::int64_t layer, std::int64_t fan_in) {
  const double base = initial_std(config, fan_in);
  switch (config.init_std_factor) {
    case InitStdFactor::disabled:
      return base;
    case InitStdFactor::global_depth:
      return base / std::sqrt(2.0 * static_cast<double>(config.n_layers + 1));
    case InitStdFactor::current_depth:
      return base / std::sqrt(2.0 * static_cast<double>(layer + 1));
    case InitStdFactor::dim_ratio:
      return base / (static_cast<double>(config.dim) / 4096.0);
  }
  return base;
}

inline std::string layer_name(std::int64_t layer, const char* rest) {
  return format_text("layers.{}.{}", layer, rest);
}

inline std::string feed_forward_name(std::int64_t layer, const char* rest) {
  return format_text("layers.{}.feed_forward.{}", layer, rest);
}

}  // namespace memengine
