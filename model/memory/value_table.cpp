// Storage of a value table and the two sparse passes over it.
#include "model/memory/value_table.h"

#include <algorithm>

#include "kernels/bag/embedding_bag.h"
#include "kernels/runtime/philox.h"

namespace memengine {
namespace {

// As many rows as `bytes` hold. Guests have room where lookups read BF16 weights as they are.
StagedSize staged_size(const ValueRows& table, const ReadCapacity& capacity, bool guests) {
  const std::int64_t picks = capacity.slots * capacity.tokens * capacity.picks;
  StagedSize size;
  size.table_rows = table.rows;
  size.listed = std::min(picks, table.rows);
  size.places = std::min(table.rows, (capacity.staging_bytes - staged_fixed_bytes(size)) /
                                         staged_place_bytes(table.layout));
  if (size.places > 0 && guests) size.guests = size.listed;
  return size;
}

}  // namespace

ValueTable::ValueTable(const std::string& name, const ModelConfig& config, Placement placement,
                       const ReadCapacity& capacity, DType compute_dtype, bool training,
                       Arena& device, Arena& host)
    : name_(name), placement_(placement), capacity_(capacity) {
  const ProductKeyConfig& memory = config.productkey_args;
  precision_ =
      memory.mem_value_dtype == ValueDtype::fp32 ? ValuePrecision::fp32 : ValuePrecision::bf16;
  const bool decays = training && memory.value_optimizer == ValueOptimizer::sparse_adam &&
                      memory.value_weight_decay > 0;
  reads_in_place_ = placement == Placement::device && !decays;
  rows_.rows = memory.rows();
  rows_.layout.v_dim = config.value_dim();
  rows_.layout.updated = training;
  rows_.layout.row_second_moment = memory.value_second_moment == SecondMoment::row;
  rows_.layout.moments = memory.value_moments == MomentDtype::bf16 ? DType::bf16 : DType::f32;

  Arena& home = placement == Placement::host ? host : device;
  const Tensor hi = home.allocate("value table", DType::bf16, {rows_.rows, rows_.v_dim()});
  const Tensor records =
      home.allocate("value table", DType::u8, {rows_.rows, rows_.layout.bytes()});
  rows_.hi = static_cast<std::uint16_t*>(hi.data());
  rows_.records = static_cast<std::byte*>(records.data());
  rows_ever_used_ = device.allocate("memory layers", DType::i32, {1});

  if (!training) return;
  const std::int64_t tokens = capacity.slots * capacity.tokens;
  const std::int64_t distinct = std::min(tokens * capacity.picks, rows_.rows);
  const DType accumulator = compute_dtype == DType::f64 ? DType::f64 : DType::f32;
  coefficients_ = device.allocate("memory layers", compute_dtype, {tokens, capacity.picks});
  vectors_ = device.allocate("memory layers", compute_dtype, {tokens, rows_.v_dim()});
  row_gradients_ = device.allocate("memory layers", accumulator, {distinct, rows_.v_dim()});
  gradient_square_sum_ = device.allocate("memory layers", DType::f64, {1});
  if (placement == Placement::host) {
    const StagedSize size =
        staged_size(rows_, capacity, precision_ == ValuePrecision::bf16 && !decays);
    staged_ = staged_rows(size, rows_.layout,
                          [&](DType dtype, std::initializer_list<std::int64_t> shape) {
                            return device.allocate("row cache", dtype, shape);
                          });
    const std::int64_t lookup = std::min(capacity.tokens * capacity.picks, rows_.rows);
    if (staged_.capacity() > 0 && !reads_by_place())
      newer_places_ = device.allocate("memory layers", DType::i32, {lookup});
  }
}

void ValueTable::initialize(const Context& context, std::uint64_t seed, double deviation) const {
  initialize_rows(context, rows_, 0, rows_.rows, seed, random_stream(name_), deviation);
}

void ValueTable::locate(const Context& context, Tensor places, Tensor picks,
                        bool first_of_pass) const {
  if (first_of_pass) forget_guests(context, staged_);
  invite_guests(context, staged_, picks);
  UniqueRows invited;
  invited.rows = staged_.guests;
  invited.count = staged_.pass.rows(1, 1);
  const Tensor begin = staged_.pass.rows(0, 1);
  if (host_gather_ != nullptr)
    host_gather_->gather(context, guest_rows(staged_), rows_, invited, begin);
  else
    gather_rows(context, guest_rows(staged_), rows_, invited, precision_, {}, {}, begin);
  place_picks(context, places, picks, staged_);
}

void ValueTable::gather(const Context& context, Tensor out, const UniqueRows& unique,
                        const LazyDecay& decay) const {
  if (host_gather_ != nullptr) host_gather_->gather(context, out, rows_, unique);
  NewerRows newer;
  if (!newer_places_.empty()) {
    newer = {staged_.values, newer_places_.rows(0, unique.capacity())};
    find_staged(context, newer.places, staged_, unique);
  }
  if (host_gather_ == nullptr)
    gather_rows(context, out, rows_, unique, precision_, decay, newer);
  else if (!newer.places.empty())
    gather_newer_rows(context, out, newer, unique, precision_, decay);
}

void ValueTable::reduce_gradients(const Context& context, const UniqueRows& unique) const {
  embedding_bag_backward_rows(context, row_gradients_, gradient_square_sum_, coefficients_,
                              vectors_, unique);
}

Tensor ValueTable::coefficients(std::int64_t slot, std::int64_t tokens) const {
  return coefficients_.rows(slot * capacity_.tokens, tokens);
}

Tensor ValueTable::vectors(std::int64_t slot, std::int64_t tokens) const {
  return vectors_.rows(slot * capacity_.tokens, tokens);
}

}  // namespace memengine
