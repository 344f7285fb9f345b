// Memory on the CPU for an example: small tensors with the numbers that a chapter writes down.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/runtime/runtime.h"
#include "kernels/table/deduplicate.h"
#include "kernels/table/value_rows.h"
#include "optim/adamw.h"

namespace memengine::course {

class Blackboard {
 public:
  Blackboard();

  // With scratch for any operation on a handful of numbers.
  const Context& context() { return runtime_.context(); }

  // They live as long as the blackboard.
  Tensor zeros(DType dtype, std::initializer_list<std::int64_t> shape);
  Tensor floats(std::initializer_list<std::int64_t> shape, const std::vector<float>& values);
  Tensor integers(const std::vector<std::int32_t>& values);  // i32 [values.size()]

  // The distinct rows of picks (kernels/table/deduplicate.h).
  UniqueRows deduplicate(Tensor picks, std::int64_t table_rows);

  // A table in which every weight is `weight`, moments and last steps are 0.
  ValueRows table(std::int64_t rows, std::int64_t v_dim, float weight);

  // Before the first update of `schedule`, without clipping.
  UpdateState updates(const Schedule& schedule);

 private:
  Runtime runtime_;
  Arena arena_;
};

// A tensor's first `count` elements; -1: all.
std::vector<float> floats_of(const Tensor& tensor, std::int64_t count = -1);
std::vector<std::int32_t> integers_of(const Tensor& tensor, std::int64_t count = -1);

// The first weight of a row, both halves.
float first_weight(const ValueRows& table, std::int64_t row);

// "name        1  0  2": a line of a table whose columns are four wide.
std::string line_of(const std::string& name, const std::vector<std::int32_t>& values);

// The same numbers as doubles, to compare answers with.
std::vector<double> as_doubles(const std::vector<std::int32_t>& values);

}  // namespace memengine::course
