// Op by op, after the shapes that kernels/*.cu lay out; test_engine compares them with the ops'
// own figures where there is a GPU.
#include "engine/config/absent_gpu.h"

#include <algorithm>

#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

// A radix sort of n pairs of 32-bit numbers: counts of 256 digits for each tile of at least 4,096
// pairs, and small change.
std::int64_t sort_bytes(std::int64_t pairs) {
  return pairs / 4 + (std::int64_t{2} << 20);
}

// One that may not overwrite its input holds a second copy of the pairs.
std::int64_t copying_sort_bytes(std::int64_t pairs) {
  return 8 * pairs + sort_bytes(pairs);
}

// Partial sums of segments of 128 sorted entries (kernels/bag/segment_sum.cuh).
std::int64_t segment_bytes(std::int64_t entries, std::int64_t columns) {
  return (entries / 128 + 1) * columns * 4;
}

// Sorted picks and their positions (kernels/table/deduplicate.cu).
std::int64_t deduplicate_bytes(std::int64_t picks) {
  return 8 * picks + copying_sort_bytes(picks);
}

// Column sums of up to 1,056 partial rows (kernels/norm, kernels/linear).
std::int64_t column_bytes(std::int64_t columns) {
  return 1056 * columns * 4;
}

constexpr std::int64_t chunk_of_scores = std::int64_t{32} << 20;  // product keys, in the L2 cache

}  // namespace

bool can_be_asked(Device device) {
  if (device == Device::cpu) return true;
  static const bool is_here = cuda_build && choose_device("auto") == Device::cuda;
  return is_here;
}

std::int64_t estimated_pass_scratch_bytes(const Transformer& transformer) {
  const ModelConfig& model = transformer.config();
  const ModelSize& size = transformer.size();
  const std::int64_t tokens = size.tokens;
  const std::int64_t wide =
      std::max({2 * model.ffn_hidden(), model.dim + 2 * model.kv_heads() * model.head_size(),
                model.productkey_args.mem_heads * model.productkey_args.mem_k_dim});
  // Attention: the gradient of the queries in FP32 and two numbers per row, rows in tiles of 128.
  const std::int64_t rows =
      (tokens + 128 * std::max<std::int64_t>(tokens / std::max<std::int64_t>(size.length, 1), 1)) *
      model.heads();
  const std::int64_t attention = size.training ? rows * (model.head_size() + 3) * 4 : 0;
  std::int64_t bytes =
      std::max({column_bytes(wide), attention, 12 * tokens + copying_sort_bytes(tokens)});
  if (!transformer.banks().empty()) {
    const ProductKeyConfig& memory = model.productkey_args;
    const std::int64_t scores =
        std::max(chunk_of_scores, 128 * 2 * memory.mem_heads * (memory.mem_n_keys + 3) * 4);
    const std::int64_t picks = tokens * memory.mem_heads * memory.mem_knn;
    const std::int64_t entries = 2 * picks;
    const std::int64_t keys =
        20 * entries + sort_bytes(entries) + segment_bytes(entries, memory.half_dim());
    bytes =
        std::max({bytes, scores, deduplicate_bytes(picks), size.training ? keys : std::int64_t{0},
                  segment_bytes(picks, model.value_dim())});
  }
  return bytes + (std::int64_t{1} << 20);
}

std::int64_t estimated_row_scratch_bytes(const Transformer& transformer) {
  std::int64_t bytes = 0;
  for (const MemoryBank& bank : transformer.banks()) {
    const ValueTable& table = bank.values();
    const std::int64_t picks = bank.step_picks();
    const std::int64_t listed = std::min(picks, table.rows().rows);
    const std::int64_t exchange = 4 * listed + table.staged().capacity();
    bytes = std::max(
        {bytes, deduplicate_bytes(picks), exchange, segment_bytes(picks, table.rows().v_dim())});
  }
  return bytes + (std::int64_t{1} << 20);
}

}  // namespace memengine
