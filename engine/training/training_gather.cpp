// Who gathers the rows of a host table: measured before training starts.
//
// A list of rows spread over the whole table is gathered by the GPU alone, by the processor alone,
// and by both, each with the share that makes them end together. The processor has to be clearly
// faster to be taken: it has a loader to run as well.
#include <algorithm>
#include <chrono>

#include "engine/training/training_model.h"

namespace memengine {
namespace {

constexpr std::int64_t measured_rows = std::int64_t{1} << 18;
constexpr int repetitions = 3;
constexpr double clearly_faster = 0.9;

// Rows in ascending order, one out of each of `count` equal parts of the table.
std::vector<std::int32_t> spread_rows(std::int64_t count, std::int64_t table_rows) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(count));
  std::uint64_t state = 1;
  for (std::int64_t u = 0; u < count; ++u) {
    const std::int64_t first = table_rows * u / count;
    const std::int64_t part = table_rows * (u + 1) / count - first;
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    rows[static_cast<std::size_t>(u)] = static_cast<std::int32_t>(
        first + static_cast<std::int64_t>((state >> 33) % static_cast<std::uint64_t>(part)));
  }
  return rows;
}

}  // namespace

void TrainingModel::choose_gather_path(GatherPath path) {
  const Context& context = runtime_.context();
  for (MemoryBank& bank : transformer_->banks()) {
    const ValueRows& table = bank.values().rows();
    const std::int64_t capacity = bank.gather_capacity();
    auto gather = std::make_unique<HostGather>(context.device, capacity, table.v_dim());
    const auto use = [&](double gpu_share) {
      gather->set_gpu_share(gpu_share);
      bank.set_gather(gpu_share == 1 ? nullptr : gather.get());
    };
    if (gathers_.empty()) {  // measured once
      const UniqueRows& unique = bank.step_rows();
      const auto count = static_cast<std::int32_t>(
          std::min({capacity, measured_rows, unique.capacity(), table.rows}));
      const std::vector<std::int32_t> rows = spread_rows(count, table.rows);
      copy_bytes(context, unique.rows.data(), rows.data(), count * 4);
      copy_bytes(context, unique.count.data(), &count, 4);
      const auto seconds = [&](double gpu_share) {
        use(gpu_share);
        double best = 1e9;
        for (int i = 0; i < repetitions; ++i) {
          runtime_.synchronize();
          const auto begin = std::chrono::steady_clock::now();
          bank.values().gather(context, bank.values().row_gradients(), unique, {});
          runtime_.synchronize();
          const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
          best = std::min(best, taken.count());
        }
        return best;
      };
      const double gpu = seconds(1);
      const double cpu = seconds(0);
      const double shared = cpu / (cpu + gpu);
      const double both = seconds(shared);
      const bool gpu_alone = std::min(cpu, both) > clearly_faster * gpu;
      if (path == GatherPath::both)
        gpu_share_ = shared;
      else if (path == GatherPath::cpu)
        gpu_share_ = 0;
      else
        gpu_share_ = gpu_alone ? 1 : cpu <= both ? 0 : shared;
      const double bytes = 2.0 * count * static_cast<double>(table.v_dim());
      gather_notice_ = fmt::format(
          "rows are gathered by {} (measured: GPU {:.1f}, processor {:.1f}, both {:.1f} GB/s)",
          gpu_share_ == 1   ? "the GPU"
          : gpu_share_ == 0 ? "the processor"
                            : "both",
          bytes / gpu / 1e9, bytes / cpu / 1e9, bytes / both / 1e9);
    }
    use(gpu_share_);
    if (gpu_share_ == 1) return;
    gathers_.push_back(std::move(gather));
  }
}

}  // namespace memengine
