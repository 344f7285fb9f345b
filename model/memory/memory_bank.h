// What memory layers share: the value table (two for PEER) and the record of a step's reads.
//
// Each lookup, of layer r in micro-batch m, has a slot. Its picks and, after the backward pass, the
// picks' coefficients and vectors stay in that slot. Because the slots stand one after the other,
// the gradients of all readers of a shared table, over all micro-batches, merge by one
// de-duplication and one segmented reduction, as if they were one lookup of more tokens.
//
// With several ranks the tables are spread over them by owner. A lookup then fetches its distinct
// rows from the owners, and the gradients that each rank has merged go to the owners, which merge
// them in the order of ranks; what follows, exchange and update, is of the rows that a rank owns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/table/choose_rows.h"
#include "model/memory/peer_lookup.h"
#include "model/memory/peer_trade.h"
#include "model/memory/row_trade.h"
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
  bool reads_by_place() const { return !is_spread() && tables_.front().reads_by_place(); }
  // Or from the owners, by fetch().
  bool is_spread() const { return tables_.front().is_spread(); }
  // Whether the host has to know how many rows go where (row_trade.h): then a step is no graph.
  bool asks_host() const { return is_spread() && !tables_.front().is_shared(); }
  // Before the first pass, all ranks together: where the others' parts are, if memory is shared.
  void find_peers(Communicator& ranks);
  // places [N * K] i32 for the picks of a lookup; slot 0 is a pass's first.
  void locate(const Context& context, Tensor places, std::int64_t slot, std::int64_t tokens) const;
  // Working memory for one lookup's de-duplication; only its `inverse` outlives the lookup, and the
  // caller brings that [N * K] i32. With one slot everything outlives it: see merge_picks().
  UniqueRows lookup(Tensor inverse) const;
  // Several ranks: out[t] [lookup_capacity, v_dim] of answer_dtype() = the distinct rows of a
  // lookup's picks in table t, from their owners, and inverse [N * K] i32 = which of them each pick
  // is. All ranks look up together; slot 0 is a pass's first.
  void fetch(const Context& context, std::span<const Tensor> out, Tensor inverse, std::int64_t slot,
             std::int64_t tokens) const;
  // The dtype of gathered rows, for activations of `activations`.
  DType gathered_dtype(DType activations) const {
    return is_spread() ? tables_.front().answer_dtype() : activations;
  }
  // The `inverse` to bring when there is one slot, else empty.
  Tensor only_inverse() const { return step_is_lookup() ? lookup_rows_.inverse : Tensor(); }

  // Before the first step, also of a pass that only reads: no row of a host table is staged.
  void empty_staging(const Context& context) const;

  // A step's updates, in this order. After its last lookup: the distinct rows of all slots, which
  // with one slot are those of the lookup; with several ranks the distinct rows of all ranks that
  // this one owns. And those of them that are updated.
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

  // Of the last merge_picks(): the distinct rows of the step that are updated here; no inverse
  // unless a lookup made it.
  const UniqueRows& step_rows() const { return is_spread() ? owned_rows_ : step_rows_; }
  // Several ranks, after merge_picks(), all together: how often each of step_rows() was picked in
  // the step by all ranks, on the host. Overwrites what reduce_gradients() works with.
  std::vector<std::int64_t> count_step_picks(const Context& context) const;
  // And those of them that are updated: all, or the few that the background seldom reads
  // (kernels/table/choose_rows.h).
  const UniqueRows& updated_rows() const { return chooses() ? chosen_rows_ : step_rows(); }
  bool chooses() const { return capacity_.updated_rows > 0 && !chosen_rows_.rows.empty(); }
  // How the background uses the rows; empty unless rows are chosen. To be filled before the first
  // step.
  const BackgroundUse& background() const { return background_; }
  // Divergence of the step's use of the rows from uniform, nats, f64 [1].
  void measure_usage(const Context& context) const;
  Tensor usage_divergence() const { return usage_divergence_; }
  // histogram [rows] i32 += the picks of the first `tokens` tokens in the first `slots` slots: what
  // all readers of this rank picked in a forward pass of so many. Overwrites step_rows(), or with
  // several ranks what they are made of.
  void count_usage(const Context& context, Tensor histogram, std::int64_t slots,
                   std::int64_t tokens) const;

  const ValueTable& values() const { return tables_.back(); }    // v
  const ValueTable& experts() const { return tables_.front(); }  // u, PEER only
  const std::vector<ValueTable>& tables() const { return tables_; }
  // Most rows of a table that are gathered for one lookup.
  std::int64_t gather_capacity() const {
    return is_spread() ? tables_.front().answer_capacity() : lookup_capacity();
  }
  void set_gather(HostGather* gather) {
    for (ValueTable& table : tables_) table.set_gather(gather);
  }
  const LazyDecay& decay() const { return decay_; }
  void set_decay(const LazyDecay& decay) { decay_ = decay; }

  // Of merge_picks(), plan_exchange() and reduce_gradients().
  std::int64_t scratch_bytes(Device device) const;
  // Of locate() and fetch(), beyond one de-duplication of a lookup's picks.
  std::int64_t locate_scratch_bytes(Device device) const;
  std::int64_t step_picks() const { return capacity_.slots * capacity_.tokens * capacity_.picks; }
  std::int64_t slots() const { return capacity_.slots; }
  // Most distinct rows of one lookup.
  std::int64_t lookup_capacity() const {
    return std::min(capacity_.tokens * capacity_.picks, tables_.front().owners().numbers());
  }

 private:
  bool step_is_lookup() const { return step_is_lookup_; }
  void plan_choice(std::int64_t picks, Arena& device);
  void plan_trade(DType accumulator, bool training, Arena& device);
  void plan_peers(bool training, Arena& device);
  // answers_ = the requested rows of a table, asked_rows_ having been found.
  Tensor answer(const Context& context, const ValueTable& table, bool first_of_pass) const;
  // Each rank's counts of its listed rows, as they come to the rows' owners.
  std::vector<std::int32_t> deliver_counts(const Context& context) const;

  std::vector<ValueTable> tables_;
  ReadCapacity capacity_;
  bool step_is_lookup_;
  Tensor picks_;            // i32 [slots * N, K]
  UniqueRows lookup_rows_;  // of one lookup; an inverse only where that is the step
  UniqueRows step_rows_;    // of all slots
  UniqueRows chosen_rows_;  // of those, the ones to update; empty: all
  BackgroundUse background_;
  // Several ranks only. The two trades are one where a step is a lookup.
  Tensor spread_picks_;  // i32 [slots * N, K]: picks_ as spread numbers
  std::shared_ptr<RowTrade> lookup_trade_, step_trade_;
  std::optional<PeerTrade> peers_;    // in their place where ranks share memory,
  std::optional<PeerLookup> lookup_;  // with it where only owners can read the tables
  Tensor pick_counts_;                // i32 [2, most requests, 1], for count_step_picks()
  Tensor answers_;                    // [most requests, v_dim]
  Tensor answer_places_;              // i32 [most requests], where tables are read by place
  UniqueRows asked_rows_;             // of all requests, where host tables are gathered
  Tensor asked_values_;               // [most of them, v_dim]
  Tensor zero_bases_;                 // i32 [1, 2]
  UniqueRows owned_rows_;             // of all ranks' steps, in this part
  Tensor delivered_;                  // [most requests of a step, v_dim]
  Tensor ones_;                       // [most requests of a step, 1]
  Tensor usage_divergence_;
  LazyDecay decay_;
};

}  // namespace memengine
