// The one place that knows both the names and the optimizers.
#include "engine/config/row_optimizer_choice.h"

#include "kernels/runtime/error.h"

namespace memengine {

const RowOptimizer& row_optimizer(const ProductKeyConfig& memory) {
  switch (memory.value_optimizer) {
    case ValueOptimizer::sparse_adam:
      return sparse_adam_optimizer;
    case ValueOptimizer::dense_adamw:
      return dense_adamw_optimizer;
    case ValueOptimizer::sgd:
      return sparse_sgd_optimizer;
  }
  fail_internal("a row optimizer of no kind");
}

}  // namespace memengine
