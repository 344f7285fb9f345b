// Slots of lookups, and the merge of their gradients.
#include "model/memory/memory_bank.h"

#include <algorithm>

#include "kernels/bag/embedding_bag.h"
#include "kernels/table/row_usage.h"

namespace memengine {
namespace {

// What a lookup needs beside the list of rows, and what the gradient needs.
struct Wanted {
  bool inverse = false;
  bool places = false;
};

UniqueRows allocate_unique(Arena& arena, std::int64_t picks, std::int64_t rows, Wanted wanted) {
  const std::int64_t capacity = std::min(picks, rows);
  UniqueRows unique;
  unique.rows = arena.allocate("memory layers", DType::i32, {capacity});
  unique.count = arena.allocate("memory layers", DType::i32, {1});
  if (wanted.inverse) unique.inverse = arena.allocate("memory layers", DType::i32, {picks});
  if (wanted.places) unique.places = arena.allocate("memory layers", DType::i32, {picks});
  unique.order = arena.allocate("memory layers", DType::i32, {picks});
  unique.offsets = arena.allocate("memory layers", DType::i32, {capacity + 1});
  return unique;
}

}  // namespace

MemoryBank::MemoryBank(std::int64_t owner, const ModelConfig& config, Placement placement,
                       const ReadCapacity& capacity, DType compute_dtype, bool training,
                       Arena& device, Arena& host)
    : capacity_(capacity) {
  const std::string prefix = "layers." + std::to_string(owner) + ".feed_forward.";
  std::vector<std::string> names = {"values.weight"};
  if (config.productkey_args.peer_variant) names = {"values_u.weight", "values_v.weight"};
  for (const std::string& name : names) {
    tables_.emplace_back(prefix + name, config, placement, capacity, compute_dtype, training,
                         device, host);
  }
  const std::int64_t rows = tables_.front().rows().rows;
  const std::int64_t tokens = capacity.slots * capacity.tokens;
  picks_ = device.allocate("memory layers", DType::i32, {tokens, capacity.picks});
  const bool gathers = !reads_in_place() && !reads_by_place();
  step_is_lookup_ = training && capacity.slots == 1 && gathers;
  if (gathers) {
    lookup_rows_ = allocate_unique(device, capacity.tokens * capacity.picks, rows,
                                   {step_is_lookup_, step_is_lookup_});
  }
  usage_divergence_ = device.allocate("memory layers", DType::f64, {1});
  if (!training) return;
  step_rows_ = step_is_lookup_ ? lookup_rows_
                               : allocate_unique(device, tokens * capacity.picks, rows,
                                                 {.inverse = false, .places = true});
}

void MemoryBank::initialize(const Context& context, std::uint64_t seed, double deviation) const {
  for (const ValueTable& table : tables_) table.initialize(context, seed, deviation);
}

Tensor MemoryBank::picks(std::int64_t slot, std::int64_t tokens) const {
  return picks_.rows(slot * capacity_.tokens, tokens);
}

void MemoryBank::locate(const Context& context, Tensor places, std::int64_t slot,
                        std::int64_t tokens) const {
  // Tables of one bank are of one size and see the same picks: their rows have the same places.
  const Tensor picks = this->picks(slot, tokens);
  for (const ValueTable& table : tables_) {
    table.locate(context, places, picks.reshape({picks.size()}), slot == 0);
  }
}

UniqueRows MemoryBank::lookup(Tensor inverse) const {
  UniqueRows unique = lookup_rows_;
  unique.inverse = inverse;
  unique.order = lookup_rows_.order.rows(0, inverse.size());
  if (!unique.places.empty()) unique.places = lookup_rows_.places.rows(0, inverse.size());
  return unique;
}

void MemoryBank::merge_picks(const Context& context) const {
  if (step_is_lookup()) return;
  deduplicate(context, step_rows_, picks_.reshape({picks_.size()}), tables_.front().rows().rows);
}

void MemoryBank::empty_staging(const Context& context) const {
  for (const ValueTable& table : tables_) memengine::empty_staging(context, table.staged());
}

void MemoryBank::plan_exchange(const Context& context) const {
  for (const ValueTable& table : tables_) {
    memengine::plan_exchange(context, table.staged(), step_rows_);
  }
}

void MemoryBank::exchange_rows(const Context& context, ExchangePace pace) const {
  for (const ValueTable& table : tables_) {
    memengine::exchange_rows(context, table.staged(), table.rows(), pace);
  }
}

void MemoryBank::reduce_gradients(const Context& context) const {
  for (const ValueTable& table : tables_) table.reduce_gradients(context, step_rows_);
}

void MemoryBank::store_rows(const Context& context) const {
  for (const ValueTable& table : tables_) {
    memengine::store_rows(context, table.rows(), table.staged());
  }
}

void MemoryBank::measure_usage(const Context& context) const {
  memengine::usage_divergence(context, usage_divergence_, step_rows_, tables_.front().rows().rows);
}

void MemoryBank::count_usage(const Context& context, Tensor histogram, std::int64_t slots,
                             std::int64_t tokens) const {
  // Slots that are full stand one after the other, and are counted as one.
  const bool full = tokens == capacity_.tokens;
  const std::int64_t rows = tables_.front().rows().rows;
  for (std::int64_t slot = 0; slot < (full ? 1 : slots); ++slot) {
    const Tensor picks =
        picks_.rows(slot * capacity_.tokens, full ? slots * capacity_.tokens : tokens);
    UniqueRows unique = step_rows_;
    if (!unique.inverse.empty()) unique.inverse = unique.inverse.rows(0, picks.size());
    unique.order = unique.order.rows(0, picks.size());
    unique.places = unique.places.rows(0, picks.size());
    deduplicate(context, unique, picks.reshape({picks.size()}), rows);
    memengine::count_usage(context, histogram, unique);
  }
}

std::int64_t MemoryBank::scratch_bytes(Device device) const {
  const std::int64_t picks = step_picks();
  const ValueTable& table = tables_.front();
  return std::max(
      {deduplicate_scratch_bytes(device, picks, table.rows().rows),
       plan_exchange_scratch_bytes(device, {.places = table.staged().capacity(),
                                            .guests = 0,
                                            .listed = std::min(picks, table.rows().rows),
                                            .table_rows = table.rows().rows}),
       usage_divergence_scratch_bytes,
       embedding_bag_scratch_bytes(device, picks, table.rows().v_dim())});
}

std::int64_t MemoryBank::locate_scratch_bytes(Device device) const {
  return reads_by_place() ? invite_guests_scratch_bytes(device, tables_.front().rows().rows) : 0;
}

}  // namespace memengine
