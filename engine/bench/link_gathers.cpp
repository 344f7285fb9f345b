// Rows out of a large table in mapped host memory: what the link gives, and what the engine makes
// of it.
#include <algorithm>

#include "engine/bench/ceilings.h"
#include "engine/bench/ops/workbench.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/table/host_gather/host_gather.h"
#include "kernels/table/value_rows.h"

namespace memengine::bench {
namespace {

constexpr std::uint64_t gather_seed = 99;

void plain_gathers(Workbench& bench, const HostBlock& table, std::int64_t count,
                   const OnCeiling& on_result) {
  for (const std::int64_t row_bytes : {256, 512, 1024, 2048}) {
    const std::int64_t rows = table.bytes() / row_bytes;
    const Tensor out = bench.zeros(DType::u8, {count, row_bytes});
    for (const bool sorted : {false, true}) {
      std::vector<std::int32_t> picks =
          random_picks(PickPattern::uniform, count, rows, gather_seed);
      if (sorted) std::sort(picks.begin(), picks.end());
      const Tensor list = bench.integers(picks);
      double seconds = 0;
      if constexpr (cuda_build) {
        seconds = bench.seconds([&] {
          cuda::plain_gather(bench.context(), out.data(), table.data(), list.as<std::int32_t>(),
                             count, row_bytes);
        });
      }
      on_result({format_text("plain gather, {} B rows, {} order", row_bytes,
                             sorted ? "sorted" : "random"),
                 static_cast<double>(count * row_bytes) / seconds / 1e9, "GB/s"});
    }
    bench.clear();
  }
}

// Uniform picks of 256 B rows, from the list of picks to BF16 rows in GPU memory.
void engine_gather(Workbench& bench, const HostBlock& block, std::int64_t count,
                   const OnCeiling& on_result) {
  ValueRows table;
  table.layout.v_dim = 128;
  table.rows = block.bytes() / 256;
  table.hi = reinterpret_cast<std::uint16_t*>(block.data());
  const Tensor picks =
      bench.integers(random_picks(PickPattern::uniform, count, table.rows, gather_seed));
  const UniqueRows unique = allocate_unique(bench, count, table.rows);
  const Tensor out = bench.zeros(DType::bf16, {count, table.v_dim()});
  bench.reserve_scratch(deduplicate_scratch_bytes(Device::cuda, count, table.rows));
  const auto gather = [&] {
    gather_rows(bench.context(), out, table, unique, ValuePrecision::bf16, {});
  };
  const double whole = bench.seconds([&] {
    deduplicate(bench.context(), unique, picks, table.rows);
    gather();
  });
  const double gathering = bench.seconds(gather);
  const auto distinct = static_cast<double>(unique_count(bench, unique));
  on_result({"engine's gather, 256 B rows, distinct and sorted", distinct * 256 / gathering / 1e9,
             "GB/s"});
  on_result({"the same with de-duplication, bytes of all picks",
             static_cast<double>(count) * 256 / whole / 1e9, "GB/s"});
  HostGather host_gather(Device::cuda, count, table.v_dim());
  const auto by_host = [&](const char* name, double gpu_share) {
    host_gather.set_gpu_share(gpu_share);
    const double seconds = bench.seconds([&] {
      deduplicate(bench.context(), unique, picks, table.rows);
      host_gather.gather(bench.context(), out, table, unique);
    });
    on_result({name, static_cast<double>(count) * 256 / seconds / 1e9, "GB/s"});
    return seconds;
  };
  const double processor = by_host("the same, gathered by the processor", 0);
  by_host("the same, gathered by both", processor / (processor + whole));
  bench.clear();
}

}  // namespace

void measure_link_gathers(Runtime& runtime, const TimingOptions& timing,
                          const CeilingOptions& options, const OnCeiling& on_result) {
  const auto bytes = static_cast<std::int64_t>(options.table_gib * 1024) << 20;
  const double begin = now_seconds();
  const HostBlock table(bytes, true, "the benchmark's table");
  const double seconds = now_seconds() - begin;
  on_result({format_text("page-locking {} GiB", options.table_gib), seconds, "s"});
  on_result({"page-locking rate", options.table_gib / seconds, "GiB/s"});
  Workbench bench(runtime, timing);
  plain_gathers(bench, table, options.gathered_rows, on_result);
  engine_gather(bench, table, options.gathered_rows, on_result);
}

}  // namespace memengine::bench
