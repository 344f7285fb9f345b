// The update of the dense parameters: one flat block, as long as the config's model makes it.
#include "engine/bench/ops/ops.h"
#include "engine/bench/ops/update_state.h"
#include "engine/training/training_model.h"
#include "kernels/reduce.h"

namespace memengine::bench {

UpdateState update_state(Workbench& bench) {
  OptimConfig config;
  config.scheduler = Scheduler::constant;
  config.warmup = 0;
  constexpr std::int64_t updates = 2;
  const Schedule schedule = make_schedule(config, 1e-3, 0, updates);
  UpdateState state;
  const auto entries = static_cast<std::int64_t>(schedule.entries.size());
  state.schedule =
      bench.zeros(DType::u8, {entries * static_cast<std::int64_t>(sizeof(ScheduleEntry))});
  state.log_decay = bench.zeros(DType::f64, {entries});
  state.step = bench.zeros(DType::i32, {1});
  state.dense_scale = bench.zeros(DType::f32, {1});
  state.value_scale = bench.zeros(DType::f32, {1});
  const float one = 1;
  copy_bytes(bench.context(), state.schedule.data(), schedule.entries.data(),
             state.schedule.bytes());
  copy_bytes(bench.context(), state.dense_scale.data(), &one, sizeof(one));
  copy_bytes(bench.context(), state.value_scale.data(), &one, sizeof(one));
  bench.runtime().synchronize();
  return state;
}

void OpBench::optimizer() {
  const Context& context = bench_.context();
  ModelMemory planned;
  const Transformer transformer(model_, training_size(case_.config, context.device), planned);
  const std::int64_t size = transformer.parameters().values().size();
  const auto elements = static_cast<double>(size);
  const std::string shape = format_text("[{}]", size);

  bench_.reserve_scratch(reduce_scratch_bytes(context.device, size));
  const Tensor weights = bench_.normal(DType::f32, {size});
  const Tensor gradients = bench_.normal(DType::f32, {size}, 0.01);
  const Tensor first_moment = bench_.normal(DType::f32, {size}, 0.01);
  const Tensor second_moment = bench_.zeros(DType::f32, {size});
  const Tensor compute = dtype_ == DType::bf16 ? bench_.zeros(dtype_, {size}) : Tensor();
  const Tensor square_sum_result = bench_.zeros(DType::f64, {1});
  const UpdateState state = update_state(bench_);
  measure("square_sum of gradients", shape, 1, {4 * elements, 0, Limit::memory},
          [&] { square_sum(context, square_sum_result, gradients); });
  // Weights and both moments are read and written, gradients are read.
  const double adamw_bytes = compute.empty() ? 28 : 30;
  measure("adamw", shape, 1, {adamw_bytes * elements, 0, Limit::memory}, [&] {
    adamw(context, weights, compute, first_moment, second_moment, gradients, state, {});
  });
  const Tensor zeroed = first_moment.rows(0, transformer.parameters().zeroed_gradients());
  measure("zero the gradients", format_text("[{}]", zeroed.size()), 1,
          {4 * static_cast<double>(zeroed.size()), 0, Limit::memory},
          [&] { fill_zero(context, zeroed); });
  bench_.clear();
}

}  // namespace memengine::bench
