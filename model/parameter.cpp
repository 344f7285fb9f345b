// Layout and initial values of the dense parameters.
//
// Initial numbers are drawn on the host, a function of (seed, slice name, element) only, and then
// copied to the device: the same weights on every machine, whatever its devices and threads.
#include "model/parameter.h"

#include <cmath>
#include <utility>

#include "kernels/pointwise/elementwise.h"
#include "kernels/runtime/philox.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

// Elements; keeps every parameter 256-byte aligned in f32.
constexpr std::int64_t alignment = 64;

std::int64_t aligned(std::int64_t elements) {
  return (elements + alignment - 1) / alignment * alignment;
}

float draw(const Initializer& initializer, std::uint64_t seed, std::uint64_t stream,
           std::uint64_t element) {
  const auto scale = static_cast<float>(initializer.scale);
  switch (initializer.kind) {
    case Initializer::Kind::constant:
      return scale;
    case Initializer::Kind::uniform: {
      const Philox4 random = philox(seed, stream, element);
      return scale * (2 * uniform_from_bits(random.word[0]) - 1);
    }
    case Initializer::Kind::normal:
    case Initializer::Kind::truncated_normal: {
      const bool truncated = initializer.kind == Initializer::Kind::truncated_normal;
      for (std::uint64_t attempt = 0;; ++attempt) {  // one in 370 draws is beyond 3 sigma
        float normal[4];
        philox_normal4(seed, stream, element + (attempt << 48), normal);
        for (const float value : normal) {
          if (!truncated || std::abs(value) <= 3.0F) return scale * value;
        }
      }
    }
  }
  return 0;
}

void initialize_slice(const Context& context, Tensor value, const ParameterSlice& slice,
                      std::uint64_t seed) {
  const std::uint64_t stream = random_stream(slice.name);
  std::vector<float> numbers(static_cast<std::size_t>(value.size()));
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = draw(slice.initializer, seed, stream, i);
  }
  if (value.dtype() == DType::f64) {
    const std::vector<double> doubles(numbers.begin(), numbers.end());
    copy_bytes(context, value.data(), doubles.data(), value.bytes());
  } else {
    copy_bytes(context, value.data(), numbers.data(), value.bytes());
  }
}

Tensor view_of(const Tensor& block, std::int64_t offset, const Parameter& parameter) {
  if (block.empty()) return {};
  const Tensor part = block.rows(offset, parameter.size());
  return parameter.columns > 0 ? part.reshape({parameter.rows, parameter.columns}) : part;
}

}  // namespace

Parameter& ParameterStore::declare(std::vector<ParameterSlice> slices, std::int64_t columns) {
  Parameter& parameter = parameters_.emplace_back();
  for (const ParameterSlice& slice : slices) parameter.rows += slice.rows;
  parameter.columns = columns;
  if (freezes_) parameter.kind = Parameter::Kind::frozen;
  parameter.slices = std::move(slices);
  return parameter;
}

Parameter& ParameterStore::declare_product(std::vector<ParameterSlice> slices,
                                           std::int64_t columns) {
  Parameter& parameter = declare(std::move(slices), columns);
  parameter.product_first = true;
  return parameter;
}

Parameter& ParameterStore::declare_statistic(const std::string& name, std::int64_t size,
                                             double initial) {
  Parameter& parameter = declare({{name, size, Initializer::constant(initial)}}, 0);
  parameter.kind = Parameter::Kind::statistic;
  return parameter;
}

void ParameterStore::place(Arena& arena, DType compute_dtype, bool with_gradients) {
  const DType master = compute_dtype == DType::f64 ? DType::f64 : DType::f32;
  std::int64_t total = 0, frozen = 0;
  for (const Parameter& parameter : parameters_) {
    if (parameter.trained()) total += aligned(parameter.size());
    if (parameter.kind == Parameter::Kind::frozen) frozen += aligned(parameter.size());
  }
  const bool rounds = compute_dtype != master;
  values_ = arena.allocate("parameters", master, {total});
  if (rounds) compute_ = arena.allocate("parameters", compute_dtype, {total});
  if (with_gradients) gradients_ = arena.allocate("gradients", master, {total});
  if (frozen > 0) {
    frozen_values_ = arena.allocate("frozen parameters", master, {frozen});
    if (rounds) frozen_compute_ = arena.allocate("frozen parameters", compute_dtype, {frozen});
  }

  std::int64_t offset = 0, frozen_offset = 0;
  const auto place_trained = [&](bool product_first) {
    for (Parameter& parameter : parameters_) {
      if (!parameter.trained() || parameter.product_first != product_first) continue;
      parameter.value = view_of(values_, offset, parameter);
      parameter.compute = rounds ? view_of(compute_, offset, parameter) : parameter.value;
      parameter.gradient = view_of(gradients_, offset, parameter);
      offset += aligned(parameter.size());
    }
  };
  place_trained(false);
  zeroed_ = offset;
  place_trained(true);
  for (Parameter& parameter : parameters_) {
    switch (parameter.kind) {
      case Parameter::Kind::trained:
        break;
      case Parameter::Kind::statistic:
        parameter.value = arena.allocate("parameters", master, {parameter.rows});
        parameter.compute = parameter.value;
        break;
      case Parameter::Kind::frozen:
        parameter.value = view_of(frozen_values_, frozen_offset, parameter);
        parameter.compute =
            rounds ? view_of(frozen_compute_, frozen_offset, parameter) : parameter.value;
        frozen_offset += aligned(parameter.size());
        break;
    }
  }
}

void ParameterStore::clear_gradients(const Context& context) {
  fill_zero(context, gradients_.rows(0, zeroed_));
  for (Parameter& parameter : parameters_) parameter.gradient_begun = false;
}

GradientPlaces ParameterStore::begin_after(std::size_t declared) const {
  GradientPlaces begin{0, zeroed_};
  for (std::size_t i = 0; i < declared; ++i) {
    const Parameter& parameter = parameters_[i];
    if (!parameter.trained()) continue;
    (parameter.product_first ? begin.products : begin.zeroed) += aligned(parameter.size());
  }
  return begin;
}

void ParameterStore::initialize(const Context& context, std::uint64_t seed) {
  for (const Parameter& parameter : parameters_) {
    std::int64_t row = 0;
    for (const ParameterSlice& slice : parameter.slices) {
      initialize_slice(context, parameter.value.rows(row, slice.rows), slice, seed);
      row += slice.rows;
    }
  }
  refresh_compute(context);
}

void ParameterStore::refresh_compute(const Context& context) {
  if (!compute_.empty()) cast(context, compute_, values_);
  if (!frozen_compute_.empty()) cast(context, frozen_compute_, frozen_values_);
}

std::vector<NamedTensor> ParameterStore::named() const {
  std::vector<NamedTensor> result;
  for (const Parameter& parameter : parameters_) {
    std::int64_t row = 0;
    for (const ParameterSlice& slice : parameter.slices) {
      result.push_back({slice.name, parameter.value.rows(row, slice.rows)});
      row += slice.rows;
    }
  }
  return result;
}

// A parameter is of the part that its middle would lie in if all were of one length.
std::vector<std::int64_t> ParameterStore::shards(std::int64_t ranks) const {
  std::vector<std::int64_t> begins(static_cast<std::size_t>(ranks) + 1, values_.size());
  begins.front() = 0;
  std::size_t next = 1;
  std::int64_t offset = 0;
  for (const bool product_first : {false, true}) {
    for (const Parameter& parameter : parameters_) {
      if (!parameter.trained() || parameter.product_first != product_first) continue;
      const std::int64_t middle = offset + parameter.size() / 2;
      while (next < static_cast<std::size_t>(ranks) &&
             middle * ranks >= values_.size() * static_cast<std::int64_t>(next)) {
        begins[next++] = offset;
      }
      offset += aligned(parameter.size());
    }
  }
  return begins;
}

Tensor ParameterStore::part_of(const Tensor& block, const Tensor& value, std::int64_t first) const {
  const auto* begin = static_cast<const std::byte*>(values_.data());
  const auto* data = static_cast<const std::byte*>(value.data());
  if (data < begin || data >= begin + values_.bytes()) return {};
  const std::int64_t at = (data - begin) / element_bytes(values_.dtype()) - first;
  if (at < 0 || at >= block.size()) return {};
  const Tensor part = block.rows(at, value.size());
  return value.rank() == 2 ? part.reshape({value.dim(0), value.dim(1)}) : part;
}

std::int64_t ParameterStore::parameter_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters_) {
    if (parameter.kind != Parameter::Kind::statistic) count += parameter.size();
  }
  return count;
}

std::int64_t ParameterStore::trained_count() const {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters_) {
    if (parameter.trained()) count += parameter.size();
  }
  return count;
}

}  // namespace memengine
