// What all op measurements share.
#include "engine/bench/ops/ops.h"

#include <algorithm>

#include "engine/training/training_model.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/measured/measured.h"

namespace memengine::bench {

OpBench::OpBench(Workbench& bench, const BenchCase& bench_case, const Ceilings& ceilings,
                 const OnOp& on_result)
    : bench_(bench),
      case_(bench_case),
      model_(bench_case.config.model),
      memory_(model_.productkey_args),
      ceilings_(ceilings),
      on_result_(on_result),
      dtype_(training_size(bench_case.config, bench.context().device).dtype),
      batch_(bench_case.config.data.batch_size),
      length_(bench_case.config.data.seq_len),
      tokens_(batch_ * length_),
      dim_(model_.dim),
      layers_(static_cast<double>(model_.n_layers)),
      memory_layers_(static_cast<double>(model_.memory_layers().size())),
      dense_layers_(layers_ - memory_layers_),
      micro_batches_(static_cast<double>(bench_case.config.grad_acc_steps)) {
  measure_products(true);  // as training does
}

double floor_seconds(const Work& work, const Ceilings& ceilings, bool bf16) {
  const double distinct = work.distinct_bytes < 0 ? work.bytes : work.distinct_bytes;
  const bool link = work.limit == Limit::link_read || work.limit == Limit::link_both;
  const auto time = [](double amount, double rate) { return rate > 0 ? amount / rate : 0; };
  return std::max({time(distinct, link ? ceilings.of(work.limit, bf16) : ceilings.memory),
                   time(work.bytes, ceilings.l2),
                   time(work.flops, ceilings.of(Limit::matrix, bf16))});
}

void OpBench::measure(const std::string& op, const std::string& shape, double calls,
                      const Work& work, const std::function<void()>& body) {
  OpResult result;
  result.bench_case = case_.name;
  result.op = op;
  result.shape = shape;
  result.calls_per_step = calls;
  result.bytes = work.bytes;
  result.flops = work.flops;
  result.distinct_bytes = work.distinct_bytes < 0 ? work.bytes : work.distinct_bytes;
  result.floor_seconds = floor_seconds(work, ceilings_, dtype_ == DType::bf16);
  result.limit = work.limit;
  result.seconds = bench_.seconds(body);
  const double ceiling = ceilings_.of(work.limit, dtype_ == DType::bf16);
  if (ceiling > 0) result.share_of_ceiling = result.rate() / ceiling;
  on_result_(result);
}

void OpBench::linear(const std::string& name, std::int64_t rows, std::int64_t inputs,
                     std::int64_t outputs, bool bias, double calls, bool accumulate) {
  const Context& context = bench_.context();
  bench_.reserve_scratch(linear_scratch_bytes(context.device, rows, outputs));
  const Tensor x = activation({rows, inputs});
  const Tensor weight = bench_.normal(dtype_, {outputs, inputs}, 0.05);
  const Tensor out = activation({rows, outputs});
  const Tensor bias_values = bias ? activation({outputs}) : Tensor();
  const Tensor dweight = bench_.zeros(DType::f32, {outputs, inputs});
  const Tensor dbias = bias ? bench_.zeros(DType::f32, {outputs}) : Tensor();
  const double flops =
      2.0 * static_cast<double>(rows) * static_cast<double>(inputs) * static_cast<double>(outputs);
  // A product is bound by whichever of its two floors is higher; thin ones by memory.
  const double bytes = static_cast<double>(element_bytes(dtype_)) *
                       static_cast<double>(rows * (inputs + outputs) + inputs * outputs);
  const double matrix = ceilings_.of(Limit::matrix, dtype_ == DType::bf16);
  const bool thin = matrix > 0 && bytes / ceilings_.memory > flops / matrix;
  const Work work{bytes, flops, thin ? Limit::memory : Limit::matrix};
  const std::string shape = format_text("[{}, {}] -> {}", rows, inputs, outputs);
  measure(name + " forward", shape, calls, work,
          [&] { linear_forward(context, out, x, weight, bias_values); });
  measure(name + " backward input", shape, calls, work,
          [&] { linear_backward_input(context, x, out, weight, false); });
  measure(name + " backward weight", shape, calls, work,
          [&] { linear_backward_weight(context, dweight, dbias, out, x, accumulate); });
  bench_.clear();
}

}  // namespace memengine::bench
