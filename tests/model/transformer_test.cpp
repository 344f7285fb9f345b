// Gradients of the whole model against finite differences in double, for every kind of layer, and
// the properties that evaluation and decoding rely on.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/model/model_testing.h"

namespace memengine {
namespace {

struct Variant {
  std::string name;
  ModelConfig config;
  TrainedPart trained = TrainedPart::all;
};

template <typename Change>
Variant variant(const std::string& name, ModelConfig config, Change&& change) {
  change(config);
  return {name, config};
}

Variant trains(TrainedPart trained, Variant variant) {
  variant.trained = trained;
  variant.name += trained == TrainedPart::memory ? "_memory_alone" : "_values_alone";
  return variant;
}

std::vector<Variant> variants() {
  const auto memory = [](const std::string& name, auto&& change) {
    return variant(name, small_memory(), [&](ModelConfig& c) { change(c.productkey_args); });
  };
  using Args = ProductKeyConfig;
  return {
      {"dense", small_dense()},
      variant("tied_grouped", small_dense(),
              [](ModelConfig& c) { c.weight_tying = true, c.n_heads = 4, c.n_kv_heads = 2; }),
      variant("sliding_window", small_dense(), [](ModelConfig& c) { c.sliding_window = 3; }),
      variant("document_mask", small_dense(), [](ModelConfig& c) { c.document_mask = true; }),
      variant("qkv_bias", small_dense(),
              [](ModelConfig& c) { c.qkv_bias = true, c.n_heads = 4, c.n_kv_heads = 2; }),
      variant("qk_norm", small_dense(),
              [](ModelConfig& c) { c.qk_norm = true, c.n_kv_heads = 1, c.head_dim = 6; }),
      variant("scaled_rope", small_dense(),
              [](ModelConfig& c) {
                c.rope_scaling = {RopeScalingType::llama3, 8, 1, 4, 16};
                c.qk_norm = c.qkv_bias = true;
              }),
      {"memory", small_memory()},
      memory("plain_sum", [](Args& a) { a.swilu_projection = false; }),
      memory("value_projection", [](Args& a) { a.swilu_projection = false, a.mem_v_dim = 5; }),
      memory("swilu_own_size", [](Args& a) { a.mem_v_dim = 7; }),
      memory("gated", [](Args& a) { a.mem_gated = true; }),
      memory("gated_plain", [](Args& a) { a.mem_gated = true, a.swilu_projection = false; }),
      memory("batchnorm", [](Args& a) { a.mem_query_norm = QueryNorm::batchnorm; }),
      memory("layernorm", [](Args& a) { a.mem_query_norm = QueryNorm::layernorm; }),
      memory("peer", [](Args& a) { a.peer_variant = true; }),
      memory("peer_gated", [](Args& a) { a.peer_variant = true, a.mem_gated = true; }),
      memory("shared", [](Args& a) { a.layers = "0,1"; }),
      memory("unshared", [](Args& a) { a.layers = "0,1", a.mem_share_values = false; }),
      memory("shared_peer", [](Args& a) { a.layers = "0,1", a.peer_variant = true; }),
      memory("host_table", [](Args& a) { a.zero_copy = true; }),
      memory("beside", [](Args& a) { a.placement = MemoryPlacement::beside; }),
      memory("beside_shared_gated",
             [](Args& a) {
               a.placement = MemoryPlacement::beside;
               a.layers = "0,1";
               a.mem_gated = true;
             }),
      trains(TrainedPart::memory, memory("replace", [](Args&) {})),
      trains(TrainedPart::memory, memory("two_beside",
                                         [](Args& a) {
                                           a.placement = MemoryPlacement::beside;
                                           a.layers = "0,1";
                                           a.mem_query_norm = QueryNorm::batchnorm;
                                         })),
      trains(TrainedPart::values, memory("gated", [](Args& a) { a.mem_gated = true; })),
      trains(TrainedPart::values, memory("two_batchnorm",
                                         [](Args& a) {
                                           a.layers = "0,1";
                                           a.mem_query_norm = QueryNorm::batchnorm;
                                         })),
      trains(TrainedPart::values, memory("two_layernorm",
                                         [](Args& a) {
                                           a.placement = MemoryPlacement::beside;
                                           a.layers = "0,1";
                                           a.mem_share_values = false;
                                           a.mem_query_norm = QueryNorm::layernorm;
                                         })),
      trains(TrainedPart::values, memory("peer",
                                         [](Args& a) {
                                           a.layers = "0,1";
                                           a.peer_variant = true;
                                         })),
  };
}

class WholeModel : public testing::TestWithParam<Variant> {};

TEST_P(WholeModel, ParameterGradientsAreTheDerivativesOfTheLoss) {
  TestModel test(GetParam().config, true, 7, GetParam().trained);
  ParameterStore& parameters = test.model().parameters();
  for (const NamedTensor& named : parameters.named()) {  // what another step has left
    const Tensor left = parameters.part_of(parameters.gradients(), named.value);
    if (!left.empty()) std::fill_n(left.as<double>(), left.size(), 1e30);
  }
  test.loss(true);
  // Gradients computed after the first loss() stand in the block; differences leave it alone.
  const Tensor block = test.model().parameters().gradients();
  const std::vector<double> all(block.as<double>(), block.as<double>() + block.size());
  const auto* values = test.model().parameters().values().as<double>();
  for (const NamedTensor& named : test.model().parameters().named()) {
    const std::int64_t first = named.value.as<double>() - values;
    if (first < 0 || first >= block.size()) continue;  // a running statistic
    auto* weights = named.value.as<double>();
    std::vector<double> analytic;
    std::vector<double> numeric;
    const std::int64_t stride = std::max<std::int64_t>(1, named.value.size() / 40);
    for (std::int64_t i = 0; i < named.value.size(); i += stride) {
      const double kept = weights[i];
      weights[i] = kept + 1e-5;
      const double above = test.loss(false);
      weights[i] = kept - 1e-5;
      const double below = test.loss(false);
      weights[i] = kept;
      analytic.push_back(all[static_cast<std::size_t>(first + i)]);
      numeric.push_back((above - below) / 2e-5);
    }
    double size = 0;
    for (const double x : numeric) size += std::abs(x);
    if (size < 1e-6) {  // batch norm cancels the query's bias: both must be (nearly) zero
      for (const double x : analytic) EXPECT_NEAR(x, 0, 1e-8) << named.name;
      continue;
    }
    EXPECT_LE(relative_error(analytic, numeric), 1e-6) << named.name;
  }
}

TEST_P(WholeModel, RowGradientsAreTheDerivativesOfTheLoss) {
  TestModel test(GetParam().config, true, 8, GetParam().trained);
  test.loss(true);
  for (const MemoryBank& bank : test.model().banks()) {
    const std::int32_t count = bank.step_rows().count.as<std::int32_t>()[0];
    ASSERT_GT(count, 0);
    for (const ValueTable& table : bank.tables()) {
      const ValueRows& rows = table.rows();
      const std::int64_t v_dim = rows.v_dim();
      std::vector<double> analytic;
      std::vector<double> numeric;
      const auto* gradients = table.row_gradients().as<double>();
      const std::vector<std::int32_t> list(bank.step_rows().rows.as<std::int32_t>(),
                                           bank.step_rows().rows.as<std::int32_t>() + count);
      for (std::int32_t u = 0; u < count; ++u) {
        const std::int64_t row = list[static_cast<std::size_t>(u)];
        auto* lower = reinterpret_cast<std::uint16_t*>(rows.records + row * rows.layout.bytes());
        for (std::int64_t j = 0; j < v_dim; j += 3) {
          std::uint16_t& hi = rows.hi[row * v_dim + j];
          const SplitFloat kept{hi, lower[j]};
          const float weight = join_float(kept.hi, kept.lo);
          // The table holds FP32, so the step taken is the difference of the stored numbers.
          const auto loss_at = [&](float value) {
            const SplitFloat split = split_float(value);
            hi = split.hi;
            lower[j] = split.lo;
            return test.loss(false);
          };
          const float above = weight + 0x1p-11F;
          const float below = weight - 0x1p-11F;
          const double difference = loss_at(above) - loss_at(below);
          numeric.push_back(difference / (static_cast<double>(above) - static_cast<double>(below)));
          analytic.push_back(gradients[u * v_dim + j]);
          hi = kept.hi;
          lower[j] = kept.lo;
        }
      }
      EXPECT_LE(relative_error(analytic, numeric), 1e-6) << table.name();
    }
  }
}

// Token by token with the key/value cache, the model says what it says of the whole text.
TEST_P(WholeModel, DecodingEqualsScoring) {
  if (GetParam().config.document_mask) return;  // decoding has one document a sequence
  TestModel test(GetParam().config, false, 9);
  const std::int64_t count = TestModel::sequences * TestModel::length;
  std::vector<double> whole(static_cast<std::size_t>(count));
  std::vector<std::int32_t> best(static_cast<std::size_t>(count));
  const TokenBatch batch = test.batch(0);
  test.model().score(test.context(), batch, Tensor(whole.data(), DType::f64, {count}),
                     Tensor(best.data(), DType::i32, {count}));

  std::vector<double> logits(TestModel::sequences * 11);
  for (std::int32_t t = 0; t < TestModel::length; ++t) {
    std::vector<std::int32_t> tokens, sequences, positions, wanted;
    for (std::int32_t s = 0; s < TestModel::sequences; ++s) {
      tokens.push_back(test.tokens()[static_cast<std::size_t>(s * TestModel::length + t)]);
      sequences.push_back(s);
      positions.push_back(t);
      wanted.push_back(s);
    }
    const auto integers = [](std::vector<std::int32_t>& values) {
      return Tensor(values.data(), DType::i32, {static_cast<std::int64_t>(values.size())});
    };
    test.model().decode(
        test.context(), Tensor(logits.data(), DType::f64, {TestModel::sequences, 11}),
        integers(tokens), {integers(sequences), integers(positions), {}}, integers(wanted));
    for (std::int64_t s = 0; s < TestModel::sequences; ++s) {
      const double* row = logits.data() + s * 11;
      double sum = 0;
      for (int v = 0; v < 11; ++v) sum += std::exp(row[v]);
      const std::int64_t at = s * TestModel::length + t;
      const double expected = row[batch.targets.as<std::int32_t>()[at]] - std::log(sum);
      EXPECT_NEAR(whole[static_cast<std::size_t>(at)], expected, 1e-12);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, WholeModel, testing::ValuesIn(variants()),
                         [](const auto& info) { return info.param.name; });

TEST(InitialWeights, DependOnSeedAndNameOnly) {
  TestModel one(small_memory(), true, 3);
  TestModel same(small_memory(), true, 3);
  TestModel other(small_memory(), true, 4);
  const auto numbers = [](TestModel& test) {
    const Tensor values = test.model().parameters().values();
    return std::vector<double>(values.as<double>(), values.as<double>() + values.size());
  };
  EXPECT_EQ(numbers(one), numbers(same));
  EXPECT_NE(numbers(one), numbers(other));
}

}  // namespace
}  // namespace memengine
