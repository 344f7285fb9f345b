// Reads the banks' usage figures back from the device.
#include "engine/training/usage.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/runtime/communicator.h"

namespace memengine {
namespace {

template <typename T>
T read_back(const Context& context, const Tensor& scalar) {
  T value{};
  copy_bytes(context, &value, scalar.data(), sizeof(T));
  return value;
}

BankUsage describe(const MemoryBank& bank) {
  BankUsage usage;
  usage.name = bank.values().name();
  usage.rows = bank.values().table_rows();
  return usage;
}

// Of the last exchange. The tables of one bank do the same: what one did is read back.
CacheUse cache_use(Runtime& runtime, const MemoryBank& bank, std::int64_t unique_rows) {
  const Context& context = runtime.context();
  const StagedRows& staged = bank.values().staged();
  std::int32_t moves[2] = {};
  copy_bytes(context, moves, staged.moves.data(), sizeof(moves));
  const auto inside = read_back<std::int32_t>(context, staged.count);
  const auto filled = read_back<std::int32_t>(context, staged.occupied);
  runtime.synchronize();
  CacheUse use;
  use.places = staged.capacity();
  use.filled = filled;
  use.came = moves[0];
  use.went = moves[1];
  use.found = inside - moves[0];
  use.updated_in_table = unique_rows - inside;
  const std::int64_t weights = 2 * staged.values.v_dim();
  const std::int64_t record = staged.values.layout.bytes();
  const std::int64_t row = weights + record;
  // Weights of rows that lookups read as guests cross once.
  const bool by_place = bank.values().reads_by_place();
  const std::int64_t guests = by_place ? use.updated_in_table * weights : 0;
  use.link_bytes = std::ssize(bank.tables()) *
                   ((use.came + use.went) * row + guests + 2 * use.updated_in_table * row);
  return use;
}

// Over all ranks: a row's picks are counted by its owner.
void sum_over_ranks(Runtime& runtime, const MemoryBank& bank, BankUsage& usage) {
  const Context& context = runtime.context();
  Communicator& ranks = *context.communicator;
  double log_sum = 0;  // sum of c log c
  std::int64_t picks = 0;
  for (const std::int64_t count : bank.count_step_picks(context)) {
    picks += count;
    log_sum += static_cast<double>(count) * std::log(static_cast<double>(count));
  }
  usage.picks = ranks.sum(picks);
  usage.unique_rows = ranks.sum(usage.unique_rows);
  usage.rows_ever_used = ranks.sum(usage.rows_ever_used);
  const auto all = static_cast<double>(usage.picks);
  usage.divergence =
      ranks.sum(log_sum) / all - std::log(all) + std::log(static_cast<double>(usage.rows));
  if (!usage.cache) return;
  for (std::int64_t* part :
       {&usage.cache->places, &usage.cache->filled, &usage.cache->found, &usage.cache->came,
        &usage.cache->updated_in_table, &usage.cache->went, &usage.cache->link_bytes}) {
    *part = ranks.sum(*part);
  }
}

std::int64_t readers(const MemoryBank& bank, const Transformer& transformer) {
  return bank.slots() / transformer.size().micro_batches;
}

}  // namespace

std::vector<BankUsage> step_usage(Runtime& runtime, Transformer& transformer) {
  std::vector<BankUsage> result;
  for (const MemoryBank& bank : transformer.banks()) {
    const Context& context = runtime.context();
    BankUsage usage = describe(bank);
    if (!bank.is_spread()) bank.measure_usage(context);
    usage.picks = bank.step_picks();
    const auto count = read_back<std::int32_t>(context, bank.step_rows().count);
    const auto ever = read_back<std::int32_t>(context, bank.values().rows_ever_used());
    usage.divergence = read_back<double>(context, bank.usage_divergence());
    runtime.synchronize();
    usage.unique_rows = count;
    usage.rows_ever_used = ever;
    if (bank.values().staged().capacity() > 0) {
      usage.cache = cache_use(runtime, bank, usage.unique_rows);
    }
    if (bank.is_spread()) sum_over_ranks(runtime, bank, usage);
    result.push_back(usage);
  }
  return result;
}

UsageCounter::UsageCounter(Runtime& runtime, Transformer& transformer)
    : runtime_(runtime), transformer_(transformer) {
  for (const MemoryBank& bank : transformer.banks()) {
    const std::int64_t rows = bank.values().table_rows();
    arenas_.emplace_back(runtime.context().device, rows * 4);
    histograms_.push_back(arenas_.back().allocate("usage", DType::i32, {rows}));
  }
}

std::int64_t UsageCounter::planned_bytes(const Transformer& transformer) {
  std::int64_t bytes = 0;
  for (const MemoryBank& bank : transformer.banks()) bytes += bank.values().table_rows() * 4;
  return bytes;
}

void UsageCounter::count(std::int64_t tokens) {
  for (std::size_t i = 0; i < histograms_.size(); ++i) {
    const MemoryBank& bank = transformer_.banks()[i];
    bank.count_usage(runtime_.context(), histograms_[i], readers(bank, transformer_), tokens);
  }
}

std::vector<BankUsage> UsageCounter::result() {
  std::vector<BankUsage> result;
  for (std::size_t i = 0; i < histograms_.size(); ++i) {
    BankUsage usage = describe(transformer_.banks()[i]);
    std::vector<std::int32_t> histogram(static_cast<std::size_t>(usage.rows));
    const Context& context = runtime_.context();
    const ExchangePurpose purpose(*context.communicator, "use of rows");
    context.communicator->all_reduce_sum(context, histograms_[i]);
    copy_bytes(context, histogram.data(), histograms_[i].data(), histograms_[i].bytes());
    runtime_.synchronize();
    double log_sum = 0;  // sum of c log c
    for (const std::int32_t count : histogram) {
      const auto bin =
          static_cast<std::size_t>(std::bit_width(static_cast<std::uint32_t>(std::max(count, 0))));
      if (usage.rows_by_picks.size() <= bin) usage.rows_by_picks.resize(bin + 1);
      ++usage.rows_by_picks[bin];
      if (count == 0) continue;
      usage.picks += count;
      ++usage.unique_rows;
      log_sum += count * std::log(static_cast<double>(count));
    }
    // sum p log(p R) with p = c / P.
    const auto picks = static_cast<double>(usage.picks);
    if (usage.picks > 0) {
      usage.divergence =
          log_sum / picks - std::log(picks) + std::log(static_cast<double>(usage.rows));
    }
    usage.rows_ever_used = usage.unique_rows;
    result.push_back(usage);
  }
  return result;
}

}  // namespace memengine
