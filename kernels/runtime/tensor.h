// A view of a dense row-major array: where it is, what its elements are, how it is shaped.
//
// A Tensor never owns memory. Arenas own it (arena.h), ops receive views by value, and slicing is
// arithmetic on the address. Shapes are written as in the papers: `[N, H, knn]`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "kernels/runtime/bfloat16.h"

namespace memengine {

enum class DType : std::uint8_t { f32, f64, bf16, i32, u8 };

constexpr std::int64_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

const char* dtype_name(DType dtype);

// dtype_of<float>() == DType::f32, and so on.
template <typename T>
constexpr DType dtype_of() {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<U, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<U, bfloat16>)
    return DType::bf16;
  else if constexpr (std::is_same_v<U, std::int32_t>)
    return DType::i32;
  else {
    static_assert(std::is_same_v<U, std::uint8_t> || std::is_same_v<U, std::byte>);
    return DType::u8;
  }
}

class Tensor {
 public:
  static constexpr int max_rank = 4;

  Tensor() = default;
  Tensor(void* data, DType dtype, std::initializer_list<std::int64_t> shape);

  // True where no memory stands behind the view: an optional argument that was not given.
  bool empty() const { return data_ == nullptr; }

  DType dtype() const { return dtype_; }
  int rank() const { return rank_; }
  std::int64_t dim(int axis) const { return shape_[static_cast<std::size_t>(axis)]; }
  std::int64_t size() const;  // number of elements
  std::int64_t bytes() const { return size() * element_bytes(dtype_); }
  void* data() const { return data_; }

  // The elements as T; an internal Error when T is not the dtype.
  template <typename T>
  T* as() const {
    if (dtype_of<T>() != dtype_) wrong_dtype(dtype_of<T>());
    return static_cast<T*>(data_);
  }

  // The same elements in another shape of the same size.
  Tensor reshape(std::initializer_list<std::int64_t> shape) const;

  // Slice [first, first + count) of the first axis.
  Tensor rows(std::int64_t first, std::int64_t count) const;

  std::string shape_text() const;  // "[4, 128]"

 private:
  [[noreturn]] void wrong_dtype(DType asked) const;

  void* data_ = nullptr;
  std::array<std::int64_t, max_rank> shape_{};
  int rank_ = 0;
  DType dtype_ = DType::f32;
};

}  // namespace memengine
