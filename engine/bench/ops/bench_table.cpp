// Allocates as model/memory/value_table.cpp does, but for itself alone.
#include "engine/bench/ops/bench_table.h"

namespace memengine::bench {

BenchTable::BenchTable(Workbench& bench, const ModelConfig& model)
    : precision_(model.productkey_args.mem_value_dtype == ValueDtype::fp32 ? ValuePrecision::fp32
                                                                           : ValuePrecision::bf16),
      across_link_(bench.context().on_cuda() && model.productkey_args.zero_copy) {
  const ProductKeyConfig& memory = model.productkey_args;
  rows_.rows = memory.rows();
  rows_.layout.v_dim = model.value_dim();
  rows_.layout.row_second_moment = memory.value_second_moment == SecondMoment::row;
  rows_.layout.moments = memory.value_moments == MomentDtype::bf16 ? DType::bf16 : DType::f32;
  const auto allocate = [&](Arena& arena) {
    const Tensor hi = arena.allocate("table", DType::bf16, {rows_.rows, rows_.v_dim()});
    const Tensor records = arena.allocate("table", DType::u8, {rows_.rows, rows_.layout.bytes()});
    rows_.hi = static_cast<std::uint16_t*>(hi.data());
    rows_.records = static_cast<std::byte*>(records.data());
  };
  Arena planned;
  allocate(planned);
  arena_ = across_link_ ? Arena(HostBlock(planned.planned_bytes(), true, "the benchmark's table"))
                        : Arena(bench.context().device, planned.planned_bytes());
  allocate(arena_);
  initialize_rows(bench.context(), rows_, 0, rows_.rows, 7, 7, model.value_init_std());
  bench.runtime().synchronize();
}

}  // namespace memengine::bench
