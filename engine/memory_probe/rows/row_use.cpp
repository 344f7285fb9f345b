// Counting, and what the counts say.
#include "engine/memory_probe/rows/row_use.h"

#include <algorithm>
#include <cmath>

#include "engine/config/memory_plan.h"
#include "kernels/runtime/error.h"

namespace memengine {

std::int64_t RowUse::planned_bytes(const ProbeModel& model) {
  return static_cast<std::int64_t>(model.layers().size()) * model.heads() * model.rows() * 4;
}

RowUse::RowUse(const ProbeModel& model)
    : memories_(model.layers().size()),
      heads_(static_cast<std::size_t>(model.heads())),
      shared_(model.shares_table()),
      rows_(model.rows()),
      n_keys_(model.config().productkey_args.mem_n_keys) {
  if (planned_bytes(model) > free_memory_bytes(Device::cpu)) {
    fail_input(
        "counting the picks of {} rows for {} layers of {} heads takes {}, more than is free",
        rows_, memories_, heads_, bytes_text(planned_bytes(model)));
  }
  counts_.assign(memories_ * heads_, std::vector<std::uint32_t>(static_cast<std::size_t>(rows_)));
}

void RowUse::add(const LookupPass& pass) {
  const auto lists = static_cast<std::int64_t>(counts_.size());
  if (tokens_ + pass.size() > UINT32_MAX)
    fail_input("more than 2^32 tokens: name fewer (--tokens)");
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t list = 0; list < lists; ++list) {
    std::uint32_t* counts = counts_[static_cast<std::size_t>(list)].data();
    const auto memory = static_cast<std::size_t>(list) / heads_;
    const std::int64_t head = list % static_cast<std::int64_t>(heads_);
    const std::int32_t* picks = pass.memories[memory].picks + head * pass.knn;
    for (std::int64_t token = 0; token < pass.size(); ++token) {
      for (std::int64_t k = 0; k < pass.knn; ++k) ++counts[picks[k]];
      picks += pass.heads * pass.knn;
    }
  }
  tokens_ += pass.size();
}

std::vector<std::uint64_t> RowUse::layer_counts(std::size_t memory) const {
  std::vector<std::uint64_t> sum(static_cast<std::size_t>(rows_));
  for (std::size_t head = 0; head < heads_; ++head) {
    const auto& counts = this->counts(memory, head);
    for (std::size_t row = 0; row < sum.size(); ++row) sum[row] += counts[row];
  }
  return sum;
}

std::vector<std::uint64_t> RowUse::table_counts(std::size_t memory) const {
  if (!shared_) return layer_counts(memory);
  std::vector<std::uint64_t> sum(static_cast<std::size_t>(rows_));
  for (const auto& counts : counts_) {
    for (std::size_t row = 0; row < sum.size(); ++row) sum[row] += counts[row];
  }
  return sum;
}

std::vector<UseOverlap> RowUse::overlaps() const {
  std::vector<UseOverlap> pairs;
  for (std::size_t a = 0; a < counts_.size(); ++a) {
    for (std::size_t b = a + 1; b < counts_.size(); ++b) {
      if (shared_ || a / heads_ == b / heads_) pairs.push_back({a, b, 0, 0});
    }
  }
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(pairs.size()); ++i) {
    UseOverlap& pair = pairs[static_cast<std::size_t>(i)];
    std::int64_t both = 0, either = 0;
    std::uint64_t common = 0, all = 0;
    for (std::size_t row = 0; row < counts_[pair.a].size(); ++row) {
      const std::uint32_t a = counts_[pair.a][row], b = counts_[pair.b][row];
      both += a > 0 && b > 0 ? 1 : 0;
      either += a > 0 || b > 0 ? 1 : 0;
      common += std::min(a, b);
      all += a;
    }
    if (either > 0) pair.rows = static_cast<double>(both) / static_cast<double>(either);
    if (all > 0) pair.picks = static_cast<double>(common) / static_cast<double>(all);
  }
  return pairs;
}

template <typename Count>
UseFigures use_figures(const std::vector<Count>& counts, std::int64_t n_keys, std::size_t top) {
  UseFigures figures;
  std::vector<bool> first(static_cast<std::size_t>(n_keys)), second(first);
  std::vector<std::int64_t> used;
  for (std::size_t row = 0; row < counts.size(); ++row) {
    if (counts[row] == 0) continue;
    figures.picks += static_cast<std::int64_t>(counts[row]);
    used.push_back(static_cast<std::int64_t>(row));
    first[row / static_cast<std::size_t>(n_keys)] = true;
    second[row % static_cast<std::size_t>(n_keys)] = true;
  }
  figures.distinct = static_cast<std::int64_t>(used.size());
  figures.dead_first = std::count(first.begin(), first.end(), false);
  figures.dead_second = std::count(second.begin(), second.end(), false);
  for (const std::int64_t row : used) {
    const double share = static_cast<double>(counts[static_cast<std::size_t>(row)]) /
                         static_cast<double>(figures.picks);
    figures.entropy -= share * std::log(share);
  }
  figures.kl_to_uniform = std::log(static_cast<double>(counts.size())) - figures.entropy;
  const auto more = [&](std::int64_t a, std::int64_t b) {
    const Count x = counts[static_cast<std::size_t>(a)], y = counts[static_cast<std::size_t>(b)];
    return x > y || (x == y && a < b);
  };
  const std::size_t thousandth = (counts.size() + 999) / 1000;
  const std::size_t sorted = std::min(used.size(), std::max(top, thousandth));
  std::partial_sort(used.begin(), used.begin() + static_cast<std::ptrdiff_t>(sorted), used.end(),
                    more);
  for (std::size_t i = 0; i < sorted; ++i) {
    const auto count = static_cast<std::int64_t>(counts[static_cast<std::size_t>(used[i])]);
    if (i < top) figures.top.emplace_back(used[i], count);
    if (i < thousandth) figures.top_thousandth += count;
  }
  return figures;
}

template <typename Count>
UseGrid use_grid(const std::vector<Count>& counts, std::int64_t n_keys, std::int64_t most) {
  UseGrid grid;
  grid.keys_per_cell = (n_keys + most - 1) / most;
  grid.side = (n_keys + grid.keys_per_cell - 1) / grid.keys_per_cell;
  grid.cells.assign(static_cast<std::size_t>(grid.side * grid.side), 0);
  for (std::size_t row = 0; row < counts.size(); ++row) {
    const std::int64_t i1 = static_cast<std::int64_t>(row) / n_keys / grid.keys_per_cell;
    const std::int64_t i2 = static_cast<std::int64_t>(row) % n_keys / grid.keys_per_cell;
    grid.cells[static_cast<std::size_t>(i1 * grid.side + i2)] += static_cast<double>(counts[row]);
  }
  return grid;
}

template UseFigures use_figures(const std::vector<std::uint32_t>&, std::int64_t, std::size_t);
template UseFigures use_figures(const std::vector<std::uint64_t>&, std::int64_t, std::size_t);
template UseGrid use_grid(const std::vector<std::uint32_t>&, std::int64_t, std::int64_t);
template UseGrid use_grid(const std::vector<std::uint64_t>&, std::int64_t, std::int64_t);

RowUse count_row_use(ProbeModel& model, const NextPass& next) {
  RowUse use(model);
  read_lookups(model.model(), {}, next, [&](const LookupPass& pass) { use.add(pass); });
  return use;
}

}  // namespace memengine
