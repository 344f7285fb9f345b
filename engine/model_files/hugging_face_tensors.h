// Names, row order and number formats of Hugging Face's form and ours.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoints/safetensors.h"

namespace memengine {

// "layers.3.attention.wq.weight" -> "model.layers.3.self_attn.q_proj.weight"
std::string hugging_face_name(const std::string& name);

// Whether the rows of each head stand in another order there: wq and wk, and
// what is added to or multiplied with their outputs.
bool is_rotated(const std::string& name);

// Row of the half-split order that stands at `row` of the interleaved order, within whole heads.
std::int64_t half_split_row(std::int64_t row, std::int64_t head_dim);

// Whether read_numbers can read it: F32, F16 or BF16.
bool holds_numbers(const TensorInfo& tensor);

// numbers = elements [first, first + numbers.size()) of a tensor; `block` is working memory.
void read_numbers(const SafetensorsReader& reader, const TensorInfo& tensor, std::int64_t first,
                  std::span<float> numbers, std::vector<std::byte>& block);

// Whether two such tensors have one shape and equal numbers.
bool same_numbers(const SafetensorsReader& reader, const TensorInfo& a, const TensorInfo& b);

// Input error, naming the tensor in `where`, when a number is NaN or infinite.
void check_finite(const std::string& where, const TensorInfo& tensor,
                  std::span<const float> numbers);

// Rows in a block of about 16 MiB: whole heads, so that rows change places within a block.
std::int64_t block_rows(std::int64_t columns, std::int64_t head_dim);

}  // namespace memengine
