// Which kernel a query norm is: the three kinds of the config, none mistaken for another.
#include "model/memory/query_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

constexpr std::int64_t tokens = 9, heads = 2, k_dim = 6;

ModelConfig with_norm(QueryNorm kind) {
  ModelConfig config;
  config.productkey_args.mem_query_norm = kind;
  config.productkey_args.mem_heads = heads;
  config.productkey_args.mem_k_dim = k_dim;
  return config;
}

// The largest deviation from 0 of means, and from 1 of variances, over groups of `count` numbers
// that stand `stride` apart.
double off_standard(const std::vector<double>& x, std::int64_t groups, std::int64_t count,
                    std::int64_t group_stride, std::int64_t stride) {
  double worst = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const double value = x[static_cast<std::size_t>(g * group_stride + i * stride)];
      sum += value;
      squares += value * value;
    }
    const double mean = sum / static_cast<double>(count);
    const double variance = squares / static_cast<double>(count) - mean * mean;
    worst = std::max({worst, std::abs(mean), std::abs(variance - 1)});
  }
  return worst;
}

TEST(QueryNormLayer, IsTheKernelOfItsKind) {
  Runtime runtime(Device::cpu);
  runtime.reserve_scratch(1 << 20);
  for (const QueryNorm kind : {QueryNorm::batchnorm, QueryNorm::layernorm}) {
    Arena arena(Device::cpu, 1 << 20);
    ParameterStore store;
    QueryNormLayer norm(store, with_norm(kind), 0);
    store.place(arena, DType::f64, true);
    store.initialize(runtime.context(), 1);
    norm.plan(arena, tokens, DType::f64);
    std::vector<double> x(tokens * heads * k_dim), out(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i * i)) + 2;
    const auto view = [](std::vector<double>& numbers) {
      return Tensor(numbers.data(), DType::f64, {tokens, heads, k_dim});
    };
    norm.forward(runtime.context(), view(out), view(x), Mode::train);
    const double over_tokens = off_standard(out, heads * k_dim, tokens, 1, heads * k_dim);
    const double over_features = off_standard(out, tokens * heads, k_dim, k_dim, 1);
    EXPECT_LT(kind == QueryNorm::batchnorm ? over_tokens : over_features, 1e-3);
    EXPECT_GT(kind == QueryNorm::batchnorm ? over_features : over_tokens, 1e-2);
  }
}

TEST(QueryNormLayer, OfNoKindIsRefused) {
  ParameterStore store;
  try {
    const QueryNormLayer norm(store, with_norm(QueryNorm::none), 0);
    ADD_FAILURE() << "was taken for one of the kinds";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::internal);
  }
}

}  // namespace
}  // namespace memengine
