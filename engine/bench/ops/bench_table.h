// A value table to measure on, where the config wants it: in device memory or in host memory.
#pragma once

#include "engine/bench/ops/workbench.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/table/value_rows.h"
#include "model/model_config.h"

namespace memengine::bench {

class BenchTable {
 public:
  // Allocates and initialises n^2 rows.
  BenchTable(Workbench& bench, const ModelConfig& model);

  const ValueRows& rows() const { return rows_; }
  ValuePrecision precision() const { return precision_; }
  // Whether reading a row crosses the link to host memory.
  bool across_link() const { return across_link_; }

 private:
  Arena arena_;
  ValueRows rows_;
  ValuePrecision precision_;
  bool across_link_;
};

}  // namespace memengine::bench
