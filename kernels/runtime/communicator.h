// The one seam through which everything that sums over the batch goes: losses, gradient norms,
// batch-norm statistics, dense gradients, row gradients.
//
// With one rank a sum over ranks is the tensor itself. Several ranks derive from this class.
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/runtime/tensor.h"

namespace memengine {

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const { return 0; }
  virtual int size() const { return 1; }

  // In place: values[i] = sum over ranks of values[i], enqueued on the context's stream.
  virtual void all_reduce_sum(const Context&, Tensor /*values*/) {}
};

}  // namespace memengine
