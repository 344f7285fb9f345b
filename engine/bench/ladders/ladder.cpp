// The list of ladders, and what they share.
#include "engine/bench/ladders/ladder.h"

#include <algorithm>

#include "kernels/runtime/philox.h"

namespace memengine::bench {
namespace {

constexpr std::uint64_t exact_seed = 77;

// Multiples of a quarter, -2 to 2.
float quarter(std::uint64_t stream, std::int64_t i) {
  const Philox4 random = philox(exact_seed, stream, static_cast<std::uint64_t>(i));
  return static_cast<float>(static_cast<int>(random.word[0] % 17) - 8) / 4;
}

}  // namespace

const std::vector<NamedLadder>& all_ladders() {
  static const std::vector<NamedLadder> all = {
      {"host_gather", "rows out of a table in host memory", host_gather_ladder},
      {"product_key", "the knn best of n^2 product keys", product_key_ladder},
      {"bag_rows", "gradients of the rows that bags were summed from", bag_rows_ladder},
      {"sparse_adam", "Adam on the rows that a step has picked", sparse_adam_ladder},
      {"attention", "causal attention, forward", attention_ladder},
  };
  return all;
}

const NamedLadder& find_ladder(const std::string& name) {
  const auto found = std::find_if(all_ladders().begin(), all_ladders().end(),
                                  [&](const NamedLadder& ladder) { return name == ladder.name; });
  if (found != all_ladders().end()) return *found;
  std::string names;
  for (const NamedLadder& ladder : all_ladders()) {
    names += (names.empty() ? "" : ", ") + std::string(ladder.name);
  }
  fail_input("bench: there is no ladder '{}'; there are {}", name, names);
}

DType activations(Workbench& bench) {
  return bench.context().on_cuda() ? DType::bf16 : DType::f32;
}

Tensor ladder_numbers(Workbench& bench, const LadderOptions& options, DType dtype,
                      std::initializer_list<std::int64_t> shape) {
  if (!options.tiny()) return bench.normal(dtype, shape);
  const Tensor tensor = bench.zeros(dtype, shape);
  const auto stream = static_cast<std::uint64_t>(tensor.size());
  const auto fill = [&]<typename T>(T (*convert)(float)) {
    std::vector<T> values(static_cast<std::size_t>(tensor.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = convert(quarter(stream, static_cast<std::int64_t>(i)));
    }
    copy_bytes(bench.context(), tensor.data(), values.data(), tensor.bytes());
    bench.runtime().synchronize();
  };
  if (dtype == DType::bf16)
    fill.operator()<bfloat16>([](float x) { return to_bfloat16(x); });
  else
    fill.operator()<float>([](float x) { return x; });
  return tensor;
}

std::vector<double> numbers_of(Workbench& bench, Tensor tensor) {
  std::vector<double> numbers(static_cast<std::size_t>(tensor.size()));
  const auto read = [&]<typename T>(auto convert) {
    std::vector<T> values(numbers.size());
    copy_bytes(bench.context(), values.data(), tensor.data(), tensor.bytes());
    bench.runtime().synchronize();
    std::transform(values.begin(), values.end(), numbers.begin(), convert);
  };
  if (tensor.dtype() == DType::bf16)
    read.operator()<bfloat16>([](bfloat16 x) { return static_cast<double>(to_float(x)); });
  else if (tensor.dtype() == DType::f32)
    read.operator()<float>([](float x) { return static_cast<double>(x); });
  else
    read.operator()<std::int32_t>([](std::int32_t x) { return static_cast<double>(x); });
  return numbers;
}

}  // namespace memengine::bench
