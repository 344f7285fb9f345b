// Shape arithmetic of tensor views; every mistake is an internal error that names both shapes.
#include "kernels/runtime/tensor.h"

#include "kernels/runtime/error.h"

namespace memengine {

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "?";
}

Tensor::Tensor(void* data, DType dtype, std::initializer_list<std::int64_t> shape)
    : data_(data), dtype_(dtype) {
  if (shape.size() > max_rank) fail_internal("a tensor has at most {} axes", max_rank);
  for (const std::int64_t extent : shape) shape_[static_cast<std::size_t>(rank_++)] = extent;
}

std::int64_t Tensor::size() const {
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) product *= dim(axis);
  return product;
}

Tensor Tensor::reshape(std::initializer_list<std::int64_t> shape) const {
  Tensor result(data_, dtype_, shape);
  if (result.size() != size()) {
    fail_internal("cannot view {} as {}", shape_text(), result.shape_text());
  }
  return result;
}

Tensor Tensor::rows(std::int64_t first, std::int64_t count) const {
  if (first < 0 || count < 0 || first + count > dim(0)) {
    fail_internal("rows {}..{} of a tensor {}", first, first + count, shape_text());
  }
  Tensor result = *this;
  result.data_ = static_cast<std::byte*>(data_) + first * (dim(0) ? bytes() / dim(0) : 0);
  result.shape_[0] = count;
  return result;
}

std::string Tensor::shape_text() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    text += (axis ? ", " : "") + std::to_string(dim(axis));
  }
  return text + "]";
}

void Tensor::wrong_dtype(DType asked) const {
  fail_internal("a tensor {} of {} was read as {}", shape_text(), dtype_name(dtype_),
                dtype_name(asked));
}

}  // namespace memengine
