// Storage of a value table and the two sparse passes over it.
#include "model/memory/value_table.h"

#include <algorithm>

#include "kernels/bag/embedding_bag.h"
#include "kernels/runtime/philox.h"

namespace memengine {
namespace {

// As many rows as `bytes` hold, but not more than a step updates.
StagedRows allocate_staged(Arena& arena, const ValueRows& table, std::int64_t distinct,
                           std::int64_t bytes) {
  StagedRows staged;
  const RecordLayout& layout = table.layout;
  const std::int64_t capacity =
      std::min(distinct, (bytes - distinct * staged_list_bytes) / staged_row_bytes(layout));
  if (capacity <= 0) return staged;
  const auto allocate = [&](DType dtype, std::initializer_list<std::int64_t> shape) {
    return arena.allocate("staged rows", dtype, shape);
  };
  staged.values.rows = capacity;
  staged.values.layout = layout;
  staged.values.hi =
      static_cast<std::uint16_t*>(allocate(DType::bf16, {capacity, layout.v_dim}).data());
  staged.values.records =
      static_cast<std::byte*>(allocate(DType::u8, {capacity, layout.bytes()}).data());
  staged.rows = allocate(DType::i32, {capacity});
  staged.places = allocate(DType::i32, {capacity});
  staged.count = allocate(DType::i32, {1});
  staged.listed = allocate(DType::i32, {distinct});
  staged.coming = allocate(DType::i32, {2, capacity});
  staged.going = allocate(DType::i32, {2, capacity});
  staged.moves = allocate(DType::i32, {3});
  return staged;
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
    staged_ = allocate_staged(device, rows_, distinct, capacity.staging_bytes);
    const std::int64_t lookup = std::min(capacity.tokens * capacity.picks, rows_.rows);
    if (staged_.capacity() > 0)
      newer_places_ = device.allocate("memory layers", DType::i32, {lookup});
  }
}

void ValueTable::initialize(const Context& context, std::uint64_t seed, double deviation) const {
  initialize_rows(context, rows_, 0, rows_.rows, seed, random_stream(name_), deviation);
}

void ValueTable::gather(const Context& context, Tensor out, const UniqueRows& unique,
                        const LazyDecay& decay) const {
  if (host_gather_ != nullptr) host_gather_->gather(context, out, rows_, unique);
  NewerRows newer;
  if (staged_.capacity() > 0) {
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
