// Conversions; see the header.
#include "engine/model_files/hugging_face_tensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/runtime/bfloat16.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/tensor.h"

namespace memengine {
namespace {

float half_to_float(std::uint16_t half) {
  const int exponent = half >> 10 & 31;
  const auto mantissa = static_cast<float>(half & 1023);
  float value = 0;
  if (exponent == 31) {
    value = mantissa == 0 ? std::numeric_limits<float>::infinity()
                          : std::numeric_limits<float>::quiet_NaN();
  } else {
    value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  }
  return (half & 0x8000) != 0 ? -value : value;
}

}  // namespace

std::string hugging_face_name(const std::string& name) {
  if (name == "tok_embeddings.weight") return "model.embed_tokens.weight";
  if (name == "output.weight") return "lm_head.weight";
  static const std::pair<const char*, const char*> parts[] = {
      {"attention.wq", "self_attn.q_proj"},     {"attention.wk", "self_attn.k_proj"},
      {"attention.wv", "self_attn.v_proj"},     {"attention.wo", "self_attn.o_proj"},
      {"attention.q_norm", "self_attn.q_norm"}, {"attention.k_norm", "self_attn.k_norm"},
      {"feed_forward.w1", "mlp.gate_proj"},     {"feed_forward.w3", "mlp.up_proj"},
      {"feed_forward.w2", "mlp.down_proj"},     {"attention_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"}};
  std::string result = "model." + name;
  for (const auto& [ours, theirs] : parts) {
    const std::size_t at = result.find(ours);
    if (at != std::string::npos) return result.replace(at, std::strlen(ours), theirs);
  }
  return result;
}

bool is_rotated(const std::string& name) {
  for (const char* end :
       {"attention.wq.weight", "attention.wk.weight", "attention.wq.bias", "attention.wk.bias",
        "attention.q_norm.weight", "attention.k_norm.weight"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

std::int64_t half_split_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t within = row % head_dim;
  return row - within + within % 2 * (head_dim / 2) + within / 2;
}

void read_numbers(const SafetensorsReader& reader, const TensorInfo& tensor, std::int64_t first,
                  std::span<float> numbers, std::vector<std::byte>& block) {
  const std::uint64_t width = file_dtype_bytes(tensor.dtype);
  const std::uint64_t offset = static_cast<std::uint64_t>(first) * width;
  if (tensor.dtype == FileDtype::f32) {
    reader.read(tensor.name, offset, std::as_writable_bytes(numbers));
    return;
  }
  block.resize(numbers.size() * width);
  reader.read(tensor.name, offset, block);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, block.data() + 2 * i, 2);
    numbers[i] = tensor.dtype == FileDtype::bf16 ? to_float(bfloat16{bits}) : half_to_float(bits);
  }
}

std::int64_t block_rows(std::int64_t columns, std::int64_t head_dim) {
  return std::max<std::int64_t>((4 << 20) / (columns * head_dim), 1) * head_dim;
}

bool holds_numbers(const TensorInfo& tensor) {
  return tensor.dtype == FileDtype::f32 || tensor.dtype == FileDtype::bf16 ||
         tensor.dtype == FileDtype::f16;
}

bool same_numbers(const SafetensorsReader& reader, const TensorInfo& a, const TensorInfo& b) {
  if (a.shape != b.shape) return false;
  std::int64_t size = 1;
  for (const std::int64_t extent : a.shape) size *= extent;
  std::vector<float> one, other;
  std::vector<std::byte> block;
  for (std::int64_t first = 0; first < size; first += 1 << 20) {
    one.resize(static_cast<std::size_t>(std::min<std::int64_t>(1 << 20, size - first)));
    other.resize(one.size());
    read_numbers(reader, a, first, one, block);
    read_numbers(reader, b, first, other, block);
    if (one != other) return false;
  }
  return true;
}

void check_finite(const std::string& where, const TensorInfo& tensor,
                  std::span<const float> numbers) {
  if (std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); })) return;
  fail_input("{}: tensor '{}' holds NaN or infinity: the file is damaged, or its training diverged",
             where, tensor.name);
}

}  // namespace memengine
