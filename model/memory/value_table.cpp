// Storage of a value table and the two sparse passes over it.
#include "model/memory/value_table.h"

#include <algorithm>

#include "kernels/bag/embedding_bag.h"
#include "kernels/runtime/philox.h"

namespace memengine {
namespace {

// As many rows as `bytes` hold. Guests have room where lookups read BF16 weights as they are.
StagedSize staged_size(const ValueRows& table, const ReadCapacity& capacity, bool guests) {
  // Of all ranks: what they pick of this part.
  const std::int64_t picks =
      capacity.place.size * capacity.slots * capacity.tokens * capacity.picks;
  StagedSize size;
  size.table_rows = table.rows;
  size.listed = std::min(picks, table.rows);
  size.places = std::min(table.rows, (capacity.staging_bytes - staged_fixed_bytes(size)) /
                                         staged_place_bytes(table.layout));
  if (size.places > 0 && guests) size.guests = size.listed;
  return size;
}

// Owners' answers keep a step one graph, which messages, whose counts the hosts learn, do not.
// Measured on two H100s: 0.5 M picks per step gain by answers (zero_copy, 64M rows: 1.97
// times one GPU), 6.3 M lose (memory_recipe, 16M rows in host memory: 1.51 by answers, 1.60 by
// messages).
constexpr std::int64_t most_answered_picks = std::int64_t{1} << 21;

}  // namespace

ValueTable::ValueTable(const std::string& name, const ModelConfig& config, Placement placement,
                       const ReadCapacity& capacity, DType compute_dtype, bool training,
                       Arena& device, Arena& host)
    : name_(name), placement_(placement), compute_dtype_(compute_dtype), capacity_(capacity) {
  const ProductKeyConfig& memory = config.productkey_args;
  precision_ =
      memory.mem_value_dtype == ValueDtype::fp32 ? ValuePrecision::fp32 : ValuePrecision::bf16;
  const bool decays = training && memory.value_optimizer != ValueOptimizer::dense_adamw &&
                      memory.value_weight_decay > 0;
  owners_ = {memory.rows(), capacity.place.size};
  reads_in_place_ = placement == Placement::device && !decays && !is_spread();
  const bool all_can_read = placement == Placement::device && !decays;
  const std::int64_t step_picks = capacity.slots * capacity.tokens * capacity.picks;
  is_shared_ =
      is_spread() && capacity.shares_memory && (all_can_read || step_picks <= most_answered_picks);
  reads_peers_ = all_can_read && is_shared_;
  answer_dtype_ = precision_ == ValuePrecision::bf16 && !decays ? DType::bf16 : compute_dtype;
  rows_.rows = owners_.rows_of(capacity.place.rank);
  rows_.owner = capacity.place;
  rows_.layout.v_dim = config.value_dim();
  rows_.layout.updated = training;
  rows_.layout.has_moments = memory.value_optimizer != ValueOptimizer::sgd;
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
  // Of this rank's picks, then, if ranks share the table, of everybody's in its part.
  const std::int64_t listed = std::min(tokens * capacity.picks, owners_.numbers());
  // With room for the padding of requests (kernels/table/spread/peer_rows.h).
  const std::int64_t owned =
      std::min(owners_.ranks * tokens * capacity.picks, owners_.part()) + (is_shared() ? 1 : 0);
  std::int64_t distinct = is_shared() ? owned : std::max(listed, owned);
  if (capacity.updated_rows > 0) distinct = std::min(distinct, capacity.updated_rows);
  const DType accumulator = compute_dtype == DType::f64 ? DType::f64 : DType::f32;
  coefficients_ = device.allocate("memory layers", compute_dtype, {tokens, capacity.picks});
  vectors_ = device.allocate("memory layers", compute_dtype, {tokens, rows_.v_dim()});
  row_gradients_ = device.allocate("memory layers", accumulator, {distinct, rows_.v_dim()});
  listed_gradients_ = is_shared()
                          ? device.allocate("memory layers", accumulator, {listed, rows_.v_dim()})
                          : row_gradients_;
  gradient_square_sum_ = device.allocate("memory layers", DType::f64, {1});
  if (placement == Placement::host) {
    const StagedSize size =
        staged_size(rows_, capacity, precision_ == ValuePrecision::bf16 && !decays);
    staged_ = staged_rows(size, rows_.layout,
                          [&](DType dtype, std::initializer_list<std::int64_t> shape) {
                            return device.allocate("row cache", dtype, shape);
                          });
    staged_.values.owner = rows_.owner;
    const std::int64_t lookup =
        is_spread() ? answer_capacity() : std::min(capacity.tokens * capacity.picks, rows_.rows);
    if (staged_.capacity() > 0 && !reads_by_place())
      newer_places_ = device.allocate("memory layers", DType::i32, {lookup});
  }
}

void ValueTable::initialize(const Context& context, std::uint64_t seed, double deviation) const {
  initialize_rows(context, rows_, 0, rows_.rows, seed, random_stream(name_), deviation);
}

void ValueTable::locate(const Context& context, Tensor places, Tensor picks, bool first_of_pass,
                        Tensor count) const {
  if (first_of_pass) forget_guests(context, staged_);
  invite_guests(context, staged_, picks, count);
  UniqueRows invited;
  invited.rows = staged_.guests;
  invited.count = staged_.pass.rows(1, 1);
  const Tensor begin = staged_.pass.rows(0, 1);
  if (host_gather_ != nullptr)
    host_gather_->gather(context, guest_rows(staged_), rows_, invited, begin);
  else
    gather_rows(context, guest_rows(staged_), rows_, invited, precision_, {}, {}, begin);
  place_picks(context, places, picks, staged_, count);
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
  embedding_bag_backward_rows(context, listed_gradients_, gradient_square_sum_, coefficients_,
                              vectors_, unique);
}

void ValueTable::answer(const Context& context, Tensor out, Tensor requests, Tensor count,
                        Tensor places, const LazyDecay& decay, bool first_of_pass) const {
  UniqueRows asked;
  asked.rows = requests;
  asked.count = count;
  if (!reads_by_place()) return gather(context, out, asked, decay);
  locate(context, places, requests, first_of_pass);
  asked.rows = places;
  gather_rows(context, out, staged_.readable(), asked, precision_, {});
}

BagRows ValueTable::answered_rows(const Tensor& answered) const {
  if (answered.dtype() == compute_dtype_) return answered;
  ValueRows rows;
  rows.hi = static_cast<std::uint16_t*>(answered.data());
  rows.rows = answered.dim(0);
  rows.layout = rows_.layout;
  return {rows, ValuePrecision::bf16};
}

std::int64_t ValueTable::answer_capacity() const {
  return owners_.ranks * std::min(capacity_.tokens * capacity_.picks, owners_.part());
}

void ValueTable::sum_delivered(const Context& context, Tensor ones, Tensor delivered,
                               const UniqueRows& owned) const {
  embedding_bag_backward_rows(context, row_gradients_, gradient_square_sum_, ones, delivered,
                              owned);
}

Tensor ValueTable::coefficients(std::int64_t slot, std::int64_t tokens) const {
  return coefficients_.rows(slot * capacity_.tokens, tokens);
}

Tensor ValueTable::vectors(std::int64_t slot, std::int64_t tokens) const {
  return vectors_.rows(slot * capacity_.tokens, tokens);
}

}  // namespace memengine
