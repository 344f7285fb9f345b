// What memory layers share: the value table (two for PEER) and the record of a step's reads.
//
// Each lookup, of layer r in micro-batch m, has a slot. Its picks and, after the backward pass, the
// picks' coefficients and vectors stay in that slot. Because the slots stand one after the other,
// the gradients of all readers of a shared table, over all micro-batches, merge by one
// de-duplication and one segmented reduction, as if they were one lookup of more tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/memory/value_table.h"

namespace memengine {

class MemoryBank {
 public:
  // `owner` is the first layer that reads the bank; checkpoints name the tables after it.
  MemoryBank(std::int64_t owner, const ModelConfig& config, Placement placement,
             const ReadCapacity& capacity, DType compute_dtype, bool training, Arena& device,
             Arena& host);

  void initialize(const Context& context, std::uint64_t seed, double deviation) const;

  // [N, K] i32: the rows that a lookup picks.
  Tensor picks(std::int64_t slot, std::int64_t tokens) const;

  // Whether lookups read the tables' rows by number, in place (value_table.h): then they have no
  // use for what follows.
  bool reads_in_place() const { return tables_.front().reads_in_place(); }
  // Or by the place that locate() tells (value_table.h).
  bool reads_by_place() const { return tables_.front().reads_by_place(); }
  // places [N * K] i32 for the picks of a lookup; slot 0 is a pass's first.
  void locate(const Context& context, Tensor places, std::int64_t slot, std::int64_t tokens) const;
  // Working memory for one lookup's de-duplication; only its `inverse` outlives the lookup, and the
  // caller brings that [N * K] i32. With one slot everything outlives it: see merge_picks().
  UniqueRows lookup(Tensor inverse) const;
  // The `inverse` to bring when there is one slot, else empty.
  Tensor only_inverse() const { return step_is_lookup() ? lookup_rows_.inverse : Tensor(); }

  // Before the first step: no row of a host table is staged.
  void empty_staging(const Context& context) const;

  // A step's updates, in this order. After its last lookup: the distinct rows of all slots, which
  // with one slot are those of the lookup.
  void merge_picks(const Context& context) const;
  // Brings them into the staging areas, as far as there is room, and others back into the table
  // for it (kernels/table/staged_rows/staged_rows.h): who moves, and the copies, which a call on
  // another stream may help with.
  void plan_exchange(const Context& context) const;
  void exchange_rows(const Context& context, ExchangePace pace) const;
  // After the last backward pass: the row gradients of every table.
  void reduce_gradients(const Context& context) const;
  // Between two steps: the tables have the newest copy of every row.
  void store_rows(const Context& context) const;

  // Of the last merge_picks(): the distinct rows of the step; no inverse unless a lookup made it.
  const UniqueRows& step_rows() const { return step_rows_; }
  // Divergence of the step's use of the rows from uniform, nats, f64 [1].
  void measure_usage(const Context& context) const;
  Tensor usage_divergence() const { return usage_divergence_; }
  // histogram [rows] i32 += the picks of the first `tokens` tokens in the first `slots` slots: what
  // all readers picked in a forward pass of so many. Overwrites step_rows().
  void count_usage(const Context& context, Tensor histogram, std::int64_t slots,
                   std::int64_t tokens) const;

  const ValueTable& values() const { return tables_.back(); }    // v
  const ValueTable& experts() const { return tables_.front(); }  // u, PEER only
  const std::vector<ValueTable>& tables() const { return tables_; }
  void set_gather(HostGather* gather) {
    for (ValueTable& table : tables_) table.set_gather(gather);
  }
  const LazyDecay& decay() const { return decay_; }
  void set_decay(const LazyDecay& decay) { decay_ = decay; }

  // Of merge_picks(), plan_exchange() and reduce_gradients().
  std::int64_t scratch_bytes(Device device) const;
  // Of locate().
  std::int64_t locate_scratch_bytes(Device device) const;
  std::int64_t step_picks() const { return capacity_.slots * capacity_.tokens * capacity_.picks; }
  std::int64_t slots() const { return capacity_.slots; }
  // Most distinct rows of one lookup.
  std::int64_t lookup_capacity() const {
    return std::min(capacity_.tokens * capacity_.picks, tables_.front().rows().rows);
  }

 private:
  bool step_is_lookup() const { return step_is_lookup_; }

  std::vector<ValueTable> tables_;
  ReadCapacity capacity_;
  bool step_is_lookup_;
  Tensor picks_;            // i32 [slots * N, K]
  UniqueRows lookup_rows_;  // of one lookup; an inverse only where that is the step
  UniqueRows step_rows_;    // of all slots
  Tensor usage_divergence_;
  LazyDecay decay_;
};

}  // namespace memengine
