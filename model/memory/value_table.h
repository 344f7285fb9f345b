// A value table: n^2 rows of v_dim numbers, in GPU memory or in host memory that the GPU maps.
//
// The table is one object with a placement; nothing outside this file knows where the rows are.
// Layers read rows by place or through gather(), and a step's row gradients come out of
// reduce_gradients(), ready for the sparse optimizer. kernels/table/value_rows.h describes the
// storage. The rows of a host table that steps use most are in a cache on the device
// (kernels/table/staged_rows/staged_rows.h).
//
// With several ranks an object holds this rank's part of the table (kernels/table/spread/
// row_owners.h): who reads it asks the owners (memory_bank.h), and answer() is what they say.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/bag/bag_rows.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/table/host_gather/host_gather.h"
#include "kernels/table/spread/row_owners.h"
#include "kernels/table/staged_rows/staged_rows.h"
#include "kernels/table/value_rows.h"
#include "model/model_config.h"

namespace memengine {

enum class Placement : std::uint8_t { device, host };

// What a bank's tables must hold for one step.
struct ReadCapacity {
  std::int64_t slots = 1;   // lookups whose gradients merge: layers that read x micro-batches
  std::int64_t tokens = 0;  // N of one lookup
  std::int64_t picks = 0;   // K = heads * knn of one token
  std::int64_t staging_bytes = 0;  // for the cache of a host table's rows
  std::int64_t updated_rows = 0;   // most that a step updates; 0: all that it picks
  RankPlace place;                 // each rank has a step of this size
  bool shares_memory = false;      // the ranks read one another's device memory
};

class ValueTable {
 public:
  // Allocates the rows in `device` or `host` memory by placement; with `training` also the picks'
  // coefficients and vectors, the row gradients and the staging area, always in `device` memory.
  ValueTable(const std::string& name, const ModelConfig& config, Placement placement,
             const ReadCapacity& capacity, DType compute_dtype, bool training, Arena& device,
             Arena& host);

  // Every row from counter-based random numbers; nothing else is touched.
  void initialize(const Context& context, std::uint64_t seed, double deviation) const;

  // out [capacity, v_dim] = the distinct rows of `unique`, as the forward pass reads them: the
  // newest copies, wherever they are.
  void gather(const Context& context, Tensor out, const UniqueRows& unique,
              const LazyDecay& decay) const;

  // From now on gather() goes through `gather`, which outlives the table; null: the device reads
  // the rows itself. Only for a host table of which no records are read; the rows are the same.
  void set_gather(HostGather* gather) { host_gather_ = gather; }

  // out [Q, v_dim] = the rows at places `requests` [Q] of this part, Q in `count` [1], as the
  // forward pass reads them; rows may be asked for more than once. Several ranks only. The first
  // lookup of a pass says so. places [Q] i32 is working memory where reads_by_place().
  void answer(const Context& context, Tensor out, Tensor requests, Tensor count, Tensor places,
              const LazyDecay& decay, bool first_of_pass) const;
  // The dtype of `out` and of what it becomes for a bag: BF16 where the forward pass reads the
  // upper halves as they are, so that no more is sent.
  DType answer_dtype() const { return answer_dtype_; }

  // Whether lookups read the rows where they lie: in the device's own memory, and not in need of
  // lazy decay. Then nothing is gathered, and a pick is a row's number.
  bool reads_in_place() const { return reads_in_place_; }
  // Or in the staging area, whatever is not there having come as a guest: then a pick is the place
  // that locate() tells.
  bool reads_by_place() const { return staged_.guest_capacity() > 0; }
  // places = where a lookup reads the rows of picks [*] i32; the first lookup of a pass says so.
  // Only the first `count` [1] i32 count; empty: all.
  void locate(const Context& context, Tensor places, Tensor picks, bool first_of_pass,
              Tensor count = {}) const;
  // The rows for a bag, in place or as gathered.
  BagRows bag_rows(const Tensor& gathered) const {
    if (is_spread()) return answered_rows(gathered);
    if (reads_by_place()) return {staged_.readable(), precision_};
    return reads_in_place_ ? BagRows(rows_, precision_) : BagRows(gathered);
  }

  // listed_gradients() = for each distinct row of the step's picks, the sum over its picks p of
  // coefficient[p] * vector[token of p] (kernels/bag/embedding_bag.h); gradient_square_sum() of
  // them all.
  void reduce_gradients(const Context& context, const UniqueRows& unique) const;

  // Slot s of what the backward pass leaves behind for reduce_gradients().
  Tensor coefficients(std::int64_t slot, std::int64_t tokens) const;  // [N, K]
  Tensor vectors(std::int64_t slot, std::int64_t tokens) const;       // [N, v_dim]

  // Several ranks: this part's gradients, of the rows of `owned`, from what the ranks have each
  // reduced and delivered [Q, v_dim]: row u = the sum of delivered[q] over q = owned.order[owned.
  // offsets[u] .. ), in the order of ranks. ones [Q, 1] are ones of the same dtype.
  void sum_delivered(const Context& context, Tensor ones, Tensor delivered,
                     const UniqueRows& owned) const;

  const std::string& name() const { return name_; }
  const ValueRows& rows() const { return rows_; }           // here: all, or this rank's part
  std::int64_t table_rows() const { return owners_.rows; }  // of all ranks
  const RowOwners& owners() const { return owners_; }
  bool is_spread() const { return owners_.ranks > 1; }
  // Ranks read rows and gradients in one another's device memory: nothing is sent (peer_trade.h).
  // Where they can, and, of tables that only owners can read, where a step picks few enough.
  bool is_shared() const { return is_shared_; }
  // Lookups read all parts where they lie; else their owners' answers (peer_lookup.h).
  bool reads_peers() const { return reads_peers_; }
  // Most rows that this rank reads of its part for one lookup, of all ranks.
  std::int64_t answer_capacity() const;
  Placement placement() const { return placement_; }
  Tensor row_gradients() const { return row_gradients_; }  // [capacity, v_dim]
  // Where is_shared(): what reduce_gradients() makes, of this rank's list, for all owners; else
  // the same memory.
  Tensor listed_gradients() const { return listed_gradients_; }
  ValuePrecision precision() const { return precision_; }
  Tensor gradient_square_sum() const { return gradient_square_sum_; }  // f64 [1]
  Tensor rows_ever_used() const { return rows_ever_used_; }            // i32 [1]
  const StagedRows& staged() const { return staged_; }
  // The forward pass reads the records too.
  bool reads_records(const LazyDecay& decay) const {
    return precision_ == ValuePrecision::fp32 || !decay.log_decay.empty();
  }

 private:
  BagRows answered_rows(const Tensor& answered) const;

  std::string name_;  // as in checkpoints: "layers.2.feed_forward.values.weight"
  Placement placement_;
  ValuePrecision precision_;
  bool reads_in_place_;
  bool is_shared_;
  bool reads_peers_;
  DType answer_dtype_;
  DType compute_dtype_;
  RowOwners owners_;
  ValueRows rows_;
  ReadCapacity capacity_;
  Tensor coefficients_;  // [slots * N, K]
  Tensor vectors_;       // [slots * N, v_dim]
  Tensor row_gradients_, listed_gradients_;
  Tensor gradient_square_sum_;
  Tensor rows_ever_used_;
  StagedRows staged_;
  Tensor newer_places_;  // of a lookup's rows that are staged: i32 [capacity]
  HostGather* host_gather_ = nullptr;
};

}  // namespace memengine
