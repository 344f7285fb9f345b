// One number's step of Adam, in a PlainTable, the same on both devices.
#pragma once

#include <cmath>

#include "kernels/ladders/sparse_adam/rungs.h"
#include "kernels/runtime/bfloat16.h"

namespace memengine::ladders {

struct PlainArrays {
  float *weights, *first_moment, *second_moment;
  bfloat16* read_weights;

  explicit PlainArrays(const PlainTable& table)
      : weights(table.weights.as<float>()),
        first_moment(table.first_moment.as<float>()),
        second_moment(table.second_moment.as<float>()),
        read_weights(table.read_weights.as<bfloat16>()) {}

  MEMENGINE_HOST_DEVICE void update(std::int64_t i, float gradient,
                                    const AdamConstants& adam) const {
    const float m = adam.beta1 * first_moment[i] + (1 - adam.beta1) * gradient;
    const float v = adam.beta2 * second_moment[i] + (1 - adam.beta2) * gradient * gradient;
    first_moment[i] = m;
    second_moment[i] = v;
    weights[i] -= adam.learning_rate * (m / adam.bias_correction1) /
                  (sqrtf(v / adam.bias_correction2) + adam.epsilon);
    read_weights[i] = to_bfloat16(weights[i]);
  }
};

}  // namespace memengine::ladders
