// Random tensors and picks.
#include "engine/bench/ops/workbench.h"

#include <algorithm>
#include <cmath>

#include "kernels/runtime/philox.h"

namespace memengine::bench {
namespace {

constexpr std::uint64_t seed_of_tensors = 20240520;
constexpr std::int64_t block_elements = std::int64_t{1} << 20;

template <typename T, typename Convert>
void fill_normal(const Context& context, Tensor tensor, std::uint64_t stream, Convert&& convert) {
  std::vector<T> block(static_cast<std::size_t>(std::min(tensor.size(), block_elements)));
  for (std::size_t i = 0; i < block.size(); i += 4) {
    float normal[4];
    philox_normal4(seed_of_tensors, stream, i / 4, normal);
    for (std::size_t j = 0; j < 4 && i + j < block.size(); ++j) block[i + j] = convert(normal[j]);
  }
  auto* bytes = static_cast<std::byte*>(tensor.data());
  std::int64_t filled = static_cast<std::int64_t>(block.size() * sizeof(T));
  copy_bytes(context, bytes, block.data(), filled);
  while (filled < tensor.bytes()) {
    const std::int64_t part = std::min(filled, tensor.bytes() - filled);
    copy_bytes(context, bytes + filled, bytes, part);
    filled += part;
  }
}

}  // namespace

Tensor Workbench::zeros(DType dtype, std::initializer_list<std::int64_t> shape) {
  Arena planned;
  planned.allocate("bench", dtype, shape);
  arenas_.push_back(std::make_unique<Arena>(context().device, planned.planned_bytes()));
  return arenas_.back()->allocate("bench", dtype, shape);
}

Tensor Workbench::normal(DType dtype, std::initializer_list<std::int64_t> shape, double deviation) {
  const Tensor tensor = zeros(dtype, shape);
  const auto stream = static_cast<std::uint64_t>(arenas_.size());
  const auto scale = static_cast<float>(deviation);
  if (dtype == DType::bf16) {
    fill_normal<bfloat16>(context(), tensor, stream,
                          [&](float x) { return to_bfloat16(scale * x); });
  } else if (dtype == DType::f64) {
    fill_normal<double>(context(), tensor, stream, [&](float x) { return deviation * x; });
  } else {
    fill_normal<float>(context(), tensor, stream, [&](float x) { return scale * x; });
  }
  runtime_.synchronize();
  return tensor;
}

Tensor Workbench::integers(const std::vector<std::int32_t>& values) {
  const Tensor tensor = zeros(DType::i32, {static_cast<std::int64_t>(values.size())});
  copy_bytes(context(), tensor.data(), values.data(), tensor.bytes());
  runtime_.synchronize();
  return tensor;
}

void Workbench::reserve_scratch(std::int64_t bytes) {
  if (context().scratch.empty() || context().scratch.bytes() < bytes) {
    runtime_.synchronize();
    runtime_.reserve_scratch(bytes);
  }
}

const char* pattern_name(PickPattern pattern) {
  return pattern == PickPattern::uniform ? "uniform" : "skewed";
}

std::vector<std::int32_t> random_picks(PickPattern pattern, std::int64_t count, std::int64_t rows,
                                       std::uint64_t seed) {
  constexpr double exponent = 1.35;
  constexpr std::uint64_t scatter = 2654435761;  // a prime: rank -> row is one to one
  const double tail = 1 - std::pow(static_cast<double>(rows), 1 - exponent);
  std::vector<std::int32_t> picks(static_cast<std::size_t>(count));
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < picks.size(); ++i) {
    const Philox4 random = philox(seed, 0, i);
    const std::uint64_t word = std::uint64_t{random.word[0]} << 32 | random.word[1];
    const double u = static_cast<double>(word >> 11) * 0x1p-53;
    auto rank = static_cast<std::int64_t>(u * static_cast<double>(rows));
    if (pattern == PickPattern::skewed) {
      // The inverse of the distribution function of r^-exponent on [1, rows].
      rank = static_cast<std::int64_t>(std::pow(1 - u * tail, 1 / (1 - exponent))) - 1;
    }
    rank = std::clamp<std::int64_t>(rank, 0, rows - 1);
    picks[i] = static_cast<std::int32_t>(static_cast<std::uint64_t>(rank) * scatter %
                                         static_cast<std::uint64_t>(rows));
  }
  return picks;
}

UniqueRows allocate_unique(Workbench& bench, std::int64_t picks, std::int64_t rows) {
  const std::int64_t capacity = std::min(picks, rows);
  UniqueRows unique;
  unique.rows = bench.zeros(DType::i32, {capacity});
  unique.count = bench.zeros(DType::i32, {1});
  unique.inverse = bench.zeros(DType::i32, {picks});
  unique.order = bench.zeros(DType::i32, {picks});
  unique.offsets = bench.zeros(DType::i32, {capacity + 1});
  unique.places = bench.zeros(DType::i32, {picks});
  return unique;
}

std::int64_t unique_count(Workbench& bench, const UniqueRows& unique) {
  std::int32_t count = 0;
  copy_bytes(bench.context(), &count, unique.count.data(), sizeof(count));
  bench.runtime().synchronize();
  return count;
}

}  // namespace memengine::bench
