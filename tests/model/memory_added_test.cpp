// Memory added to a model: parts that are frozen, a memory that is silent, rows that are chosen.
#include <gtest/gtest.h>

#include <map>

#include "tests/model/model_testing.h"

namespace memengine {
namespace {

// What is frozen has no gradient, and keeps nothing for the backward pass below the memory.
TEST(FrozenParts, CostNothing) {
  ModelConfig config = small_memory();
  config.n_layers = 4;
  config.productkey_args.layers = "2";
  config.productkey_args.placement = MemoryPlacement::beside;
  const auto bytes = [&](TrainedPart trained) {
    ModelSize size;
    size.tokens = size.length = 50;
    size.trained = trained;
    ModelMemory memory;
    const Transformer model(config, size, memory);
    return memory.device.bytes_by_purpose();
  };
  auto all = bytes(TrainedPart::all), memory = bytes(TrainedPart::memory),
       values = bytes(TrainedPart::values);
  EXPECT_EQ(all["frozen parameters"], 0);
  EXPECT_EQ(all["gradients"], all["parameters"]);
  EXPECT_EQ(memory["gradients"] + memory["frozen parameters"], all["parameters"]);
  EXPECT_EQ(values["gradients"], 0);
  EXPECT_EQ(values["frozen parameters"], all["parameters"]);
  // Of four blocks two lie below the memory's, and of that one attention keeps nothing.
  EXPECT_LT(memory["activations"], 4 * all["activations"] / 5);

  TestModel whole(config, true, 5), part(config, true, 5, TrainedPart::memory),
      rows(config, true, 5, TrainedPart::values);
  const auto flops = [](TestModel& test) { return test.model().training_flops_per_token(); };
  EXPECT_LT(flops(part), flops(whole));
  EXPECT_LT(flops(rows), flops(part));
  EXPECT_EQ(whole.loss(true), part.loss(true));
  for (const NamedTensor& named : part.model().parameters().named()) {
    const ParameterStore& trained = part.model().parameters();
    const Tensor gradient = trained.part_of(trained.gradients(), named.value);
    const bool of_memory = named.name.starts_with("layers.2.feed_forward.") &&
                           named.name.find(".w1.") == named.name.npos &&
                           named.name.find(".w2.") == named.name.npos &&
                           named.name.find(".w3.") == named.name.npos;
    EXPECT_EQ(!gradient.empty(), of_memory) << named.name;
  }
}

std::int64_t kept_bytes(const ModelConfig& config, TrainedPart trained) {
  ModelSize size;
  size.tokens = size.length = 50;
  size.trained = trained;
  ModelMemory memory;
  const Transformer model(config, size, memory);
  const auto bytes = memory.device.bytes_by_purpose();
  std::int64_t sum = 0;
  for (const char* purpose : {"activations", "memory layers"}) {
    if (bytes.contains(purpose)) sum += bytes.at(purpose);
  }
  return sum;
}

// The lowest trained layer keeps what its own gradients need, and nothing of what is frozen in it:
// how wide the feed-forward beside the memory is makes no difference, and to the values alone not
// how wide the queries are.
TEST(FrozenParts, OfTheLowestTrainedLayerKeepNothing) {
  ModelConfig narrow = small_memory();
  narrow.productkey_args.placement = MemoryPlacement::beside;
  for (const QueryNorm norm : {QueryNorm::none, QueryNorm::layernorm, QueryNorm::batchnorm}) {
    narrow.productkey_args.mem_query_norm = norm;
    ModelConfig wide = narrow, wide_queries = narrow;
    wide.multiple_of = 96;
    wide_queries.productkey_args.mem_k_dim = 96;
    ASSERT_GT(wide.ffn_hidden(), narrow.ffn_hidden());
    for (const TrainedPart trained : {TrainedPart::memory, TrainedPart::values}) {
      EXPECT_EQ(kept_bytes(wide, trained), kept_bytes(narrow, trained));
    }
    EXPECT_GT(kept_bytes(wide, TrainedPart::all), kept_bytes(narrow, TrainedPart::all));
    EXPECT_EQ(kept_bytes(wide_queries, TrainedPart::values),
              kept_bytes(narrow, TrainedPart::values));
    EXPECT_GT(kept_bytes(wide_queries, TrainedPart::memory),
              kept_bytes(narrow, TrainedPart::memory));
  }
  // A layer above the lowest passes its input's gradient on, and keeps what that takes.
  narrow.productkey_args.layers = "0,1";
  ModelConfig wide = narrow;
  wide.multiple_of = 96;
  EXPECT_GT(kept_bytes(wide, TrainedPart::memory), kept_bytes(narrow, TrainedPart::memory));
}

std::map<std::int32_t, std::vector<double>> row_gradients(TestModel& test) {
  const MemoryBank& bank = test.model().banks().front();
  const UniqueRows& rows = bank.updated_rows();
  std::map<std::int32_t, std::vector<double>> of_row;
  const auto* from = bank.values().row_gradients().as<double>();
  for (std::int32_t u = 0; u < *rows.count.as<std::int32_t>(); ++u) {
    of_row[rows.rows.as<std::int32_t>()[u]].assign(from + u * 8, from + (u + 1) * 8);
  }
  return of_row;
}

// Whatever else is frozen, what is trained has the gradients that it has in full training. (Not
// with a batch norm on the queries, which uses its running averages where values alone are
// trained.)
TEST(FrozenParts, LeaveTheOthersTheirGradients) {
  struct Case {
    const char* layers;
    bool peer, gated;
    QueryNorm norm;
  };
  for (const auto& [layers, peer, gated, norm] : {Case{"1", false, false, QueryNorm::none},
                                                  {"1", false, true, QueryNorm::layernorm},
                                                  {"0,1", false, false, QueryNorm::layernorm},
                                                  {"1", true, false, QueryNorm::none},
                                                  {"0,1", true, true, QueryNorm::none}}) {
    for (const MemoryPlacement placement : {MemoryPlacement::beside, MemoryPlacement::replace}) {
      ModelConfig config = small_memory();
      config.productkey_args.placement = placement;
      config.productkey_args.layers = layers;
      config.productkey_args.peer_variant = peer;
      config.productkey_args.mem_gated = gated;
      config.productkey_args.mem_query_norm = norm;
      TestModel whole(config, true, 5), part(config, true, 5, TrainedPart::memory),
          values(config, true, 5, TrainedPart::values);
      whole.loss(true), part.loss(true), values.loss(true);
      EXPECT_EQ(row_gradients(part), row_gradients(whole));
      EXPECT_EQ(row_gradients(values), row_gradients(whole));
      const auto named = whole.model().parameters().named();
      const auto of_part = part.model().parameters().named();
      int compared = 0;
      for (std::size_t i = 0; i < named.size(); ++i) {
        const auto gradient = [](TestModel& test, const NamedTensor& tensor) {
          const ParameterStore& store = test.model().parameters();
          return store.part_of(store.gradients(), tensor.value);
        };
        const Tensor expected = gradient(whole, named[i]), actual = gradient(part, of_part[i]);
        if (actual.empty()) continue;
        ++compared;
        for (std::int64_t k = 0; k < actual.size(); ++k) {
          ASSERT_EQ(actual.as<double>()[k], expected.as<double>()[k]) << named[i].name;
        }
      }
      EXPECT_GE(compared, 3);
    }
  }
}

// A layer that is not trained yet adds nothing, to the last bit.
TEST(SilentMemory, LeavesTheModelAsItWas) {
  for (const bool projected : {true, false}) {
    ModelConfig config = small_memory();
    config.productkey_args.placement = MemoryPlacement::beside;
    config.productkey_args.swilu_projection = projected;
    TestModel with(config, true, 5);
    TestModel without(small_dense(), true, 5);
    EXPECT_NE(with.loss(false), without.loss(false));
    for (const MemoryLayer* memory : with.model().memories()) {
      memory->start_silent(with.context(), 5);
    }
    EXPECT_EQ(with.loss(false), without.loss(false));
  }
}

// Only the chosen rows have gradients, and these are what they are without a choice.
TEST(ChosenRows, HaveTheGradientsThatTheyHaveAmongAll) {
  ModelConfig config = small_memory();
  config.productkey_args.layers = "0,1";
  TestModel all(config, true, 6), few(config, true, 6, TrainedPart::all, 4);
  const MemoryBank& bank = few.model().banks().front();
  std::vector<float> rarity(most_background_batches + 1);
  rarity_of(rarity, 9);
  std::copy(rarity.begin(), rarity.end(), bank.background().rarity.as<float>());
  auto* frequency = bank.background().document_frequency.as<std::int32_t>();
  for (std::int32_t row = 0; row < 25; ++row) frequency[row] = row < 20 ? 9 : row - 20;
  all.loss(true);
  few.loss(true);
  const auto of_all = row_gradients(all), of_few = row_gradients(few);
  ASSERT_EQ(of_few.size(), 4);
  EXPECT_GT(of_all.size(), 12);
  int rare = 0;
  for (const auto& [row, gradient] : of_few) {
    rare += row >= 20 ? 1 : 0;
    EXPECT_LE(relative_error(gradient, of_all.at(row)), 1e-12) << row;
  }
  int rare_of_all = 0;
  for (const auto& [row, gradient] : of_all) rare_of_all += row >= 20 ? 1 : 0;
  EXPECT_EQ(rare, std::min(rare_of_all, 4));
}

}  // namespace
}  // namespace memengine
