// Every op that a training step spends time in, forward and backward, at one config's shapes.
//
// Each op is measured alone on random inputs and multiplied by how often a step calls it; the sum
// is a prediction of the step to hold against the measured one. Bytes are those that the algorithm
// has to move if every operand is read and written once and every picked row is read once per pick;
// so an op whose operands stay in the caches can exceed the ceiling of the memory. Flops are those
// of the formulas; causal attention counts half of the square.
//
// Not measured: PEER's and the sigmoid gate's element-wise ops (no shipped config has them), and
// the sums over losses.
#pragma once

#include <functional>

#include "engine/bench/cases.h"
#include "engine/bench/ops/workbench.h"
#include "engine/bench/results.h"
#include "kernels/table/staged_rows/staged_rows.h"

namespace memengine::bench {

class BenchTable;

using OnOp = std::function<void(const OpResult&)>;

// What an op has to do, by formula.
struct Work {
  double bytes = 0;
  double flops = 0;
  Limit limit = Limit::memory;
  double distinct_bytes = -1;  // without what is read again; negative: nothing is
};

// The time that no version can beat by much: the largest of distinct bytes over the memory's (or
// the link's) rate, all bytes over the L2 cache's, and operations over theirs. 0 where nothing is
// known.
double floor_seconds(const Work& work, const Ceilings& ceilings, bool bf16);

// The sizes that ops share, and where results go.
class OpBench {
 public:
  OpBench(Workbench& bench, const BenchCase& bench_case, const Ceilings& ceilings,
          const OnOp& on_result);

  void transformer();  // embedding, norms, attention, feed-forward, head       ops_transformer.cpp
  void memory();       // the memory layers and their tables                    ops_memory.cpp
  void optimizer();    // norms and updates of the dense parameters             ops_optimizer.cpp

 private:
  // The stages of memory().
  void queries();
  void rows(PickPattern pattern, const BenchTable& table);
  void row_updates(PickPattern pattern, const BenchTable& table);
  void adam_on_rows(PickPattern pattern, const std::string& shape, double calls,
                    const BenchTable& table, const UniqueRows& unique, Tensor row_gradients);
  StagedRows allocate_staged(const ValueRows& table, std::int64_t capacity);

  // Times `body` and hands the result on.
  void measure(const std::string& op, const std::string& shape, double calls, const Work& work,
               const std::function<void()>& body);
  // The three products of a linear layer, x [rows, inputs] -> [rows, outputs]. `accumulate`: the
  // weight's gradient is added to what is there.
  void linear(const std::string& name, std::int64_t rows, std::int64_t inputs, std::int64_t outputs,
              bool bias, double calls, bool accumulate = true);

  Work memory_work(double elements) const {  // elements of activations read or written
    return {elements * static_cast<double>(element_bytes(dtype_)), 0, Limit::memory};
  }
  Tensor activation(std::initializer_list<std::int64_t> shape) {
    return bench_.normal(dtype_, shape);
  }
  double count(PickPattern pattern, double calls) const {  // real steps are uniform at the start
    return pattern == PickPattern::uniform ? calls : 0;
  }

  Workbench& bench_;
  const BenchCase& case_;
  const ModelConfig& model_;
  const ProductKeyConfig& memory_;
  const Ceilings& ceilings_;
  OnOp on_result_;

  DType dtype_;                  // of activations
  std::int64_t batch_, length_;  // B, T
  std::int64_t tokens_, dim_;    // N, C
  double layers_, memory_layers_, dense_layers_, micro_batches_;
};

}  // namespace memengine::bench
