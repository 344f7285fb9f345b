// All dense parameters of a model, in one flat block.
//
// Layers declare their parameters when they are built; place() then lays all of them out one after
// the other, so that the optimizer, the gradient norm and zeroing the gradients are single passes
// over flat memory. Matrices that multiply the same input stand together as one parameter with
// several named slices (wq, wk, wv), so that one product serves them all, while checkpoints keep
// the reference's names.
//
// Each parameter has three views: `value`, the FP32 master weights the optimizer updates;
// `compute`, what kernels read (a BF16 copy when the model computes in BF16, else the same memory);
// and `gradient`, FP32, accumulated from clear_gradients() on; empty when the parameter is frozen.
// In gradient checks all three are f64.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"

namespace memengine {

// How a slice starts (model/parameter.cpp): counter-based from the run's seed and the slice's name.
struct Initializer {
  enum class Kind : std::uint8_t { constant, normal, truncated_normal, uniform };
  Kind kind = Kind::constant;
  double scale = 0;  // the constant, the standard deviation, or the bound

  static Initializer constant(double value) { return {Kind::constant, value}; }
  static Initializer normal(double deviation) { return {Kind::normal, deviation}; }
  // Normal cut off at three standard deviations.
  static Initializer truncated_normal(double deviation) {
    return {Kind::truncated_normal, deviation};
  }
  static Initializer uniform(double bound) { return {Kind::uniform, bound}; }
};

// A named block of rows of a parameter, as checkpoints know it.
struct ParameterSlice {
  std::string name;
  std::int64_t rows = 0;
  Initializer initializer;
};

struct Parameter {
  std::vector<ParameterSlice> slices;
  std::int64_t rows = 0;
  std::int64_t columns = 0;  // 0 for a vector of `rows` elements
  // Only trained ones have a gradient and are optimised. Frozen ones keep the values they were
  // given; statistics are written by the forward pass.
  enum class Kind : std::uint8_t { trained, frozen, statistic };
  Kind kind = Kind::trained;
  // The first thing that a step adds to the gradient is a product (linear_backward_weight). That
  // one writes instead of adding, and nobody needs to zero the gradient or to read it before.
  bool product_first = false;
  bool gradient_begun = false;  // by a product of this step

  Tensor value, compute, gradient;  // [rows, columns] or [rows]; set by place()

  bool trained() const { return kind == Kind::trained; }
  std::int64_t size() const { return rows * (columns > 0 ? columns : 1); }

  // For linear_backward_weight: does the next product add to the gradient? Asked once a product.
  bool accumulates() { return !product_first || std::exchange(gradient_begun, true); }
};

// A slice of a parameter as checkpoints name it.
struct NamedTensor {
  std::string name;
  Tensor value;
};

// A place in each part of the flat block of gradients: among those that are zeroed before a step,
// and among those with product_first, which stand after them all.
struct GradientPlaces {
  std::int64_t zeroed = 0;
  std::int64_t products = 0;
};

class ParameterStore {
 public:
  // A matrix [sum of slice rows, columns], or a vector when `columns` is 0. The reference stays
  // valid as long as the store.
  Parameter& declare(std::vector<ParameterSlice> slices, std::int64_t columns);
  // The same for a matrix with product_first.
  Parameter& declare_product(std::vector<ParameterSlice> slices, std::int64_t columns);
  // From now on the above make parameters that are not trained.
  void freeze(bool frozen) { freezes_ = frozen; }
  // Running statistics: a vector that is saved but neither trained nor rounded.
  Parameter& declare_statistic(const std::string& name, std::int64_t size, double initial);

  // Gives every parameter its memory. `compute_dtype` f32, bf16 or f64 (gradient checks).
  // Without `with_gradients` (inference) there are no gradients.
  void place(Arena& arena, DType compute_dtype, bool with_gradients);

  // The beginning of a step: all gradients are zero, or written by the product that comes first.
  void clear_gradients(const Context& context);

  // Fills all values (and the compute copies) with their initial numbers.
  void initialize(const Context& context, std::uint64_t seed);

  // Rounds the values to the compute copies; needed after values were written from outside.
  void refresh_compute(const Context& context);

  // Every slice, with the master values.
  std::vector<NamedTensor> named() const;

  // The trained parameters as flat blocks [n]; padding between parameters is zero and stays zero.
  Tensor values() const { return values_; }
  Tensor compute() const { return compute_; }  // empty when kernels read the values themselves
  Tensor gradients() const { return gradients_; }
  // How many of the gradients, from the first on, clear_gradients() fills with zeros.
  std::int64_t zeroed_gradients() const { return zeroed_; }

  // How many parameters were declared so far; and where in the flat blocks those begin that were
  // declared after the first `declared`.
  std::size_t declared() const { return parameters_.size(); }
  GradientPlaces begin_after(std::size_t declared) const;

  // The part that belongs to a value of named(), in its shape, of a block as long as values(), or
  // of what such a block has from number `first` on; empty when that is not a trained one, or not
  // there.
  Tensor part_of(const Tensor& block, const Tensor& value, std::int64_t first = 0) const;

  // The flat blocks in `ranks` parts of whole parameters, as even as these allow: where each
  // begins, and the end. Parts may be empty.
  std::vector<std::int64_t> shards(std::int64_t ranks) const;

  // Elements without padding and statistics; of them, those that are trained.
  std::int64_t parameter_count() const;
  std::int64_t trained_count() const;

 private:
  std::deque<Parameter> parameters_;
  bool freezes_ = false;
  Tensor values_, compute_, gradients_;
  Tensor frozen_values_, frozen_compute_;
  std::int64_t zeroed_ = 0;  // elements of gradients_, before those with product_first
};

}  // namespace memengine
