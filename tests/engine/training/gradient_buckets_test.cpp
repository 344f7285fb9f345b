// Buckets of gradients: what is summed when, and that nothing is summed before it is whole.
#include "engine/training/exchange/gradient_buckets.h"

#include <gtest/gtest.h>

#include "tests/model/model_testing.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

// Remembers how many numbers each sum had.
class CountsSums : public Communicator {
 public:
  explicit CountsSums(Communicator& ranks) : ranks_(ranks) {}
  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  void all_reduce_sum(const Context& context, Tensor values) override {
    lengths.push_back(values.size());
    ranks_.all_reduce_sum(context, values);
  }
  std::vector<std::int64_t> lengths;

 private:
  Communicator& ranks_;
};

TEST(GradientBuckets, AreSummedOnceEachAsSoonAsTheyAreFull) {
  on_ranks(3, [](Communicator& ranks) {
    CountsSums counting(ranks);
    Runtime runtime(Device::cpu, &counting);
    constexpr std::int64_t size = 1000;
    std::vector<double> mine(size), all(size);
    for (std::int64_t i = 0; i < size; ++i) {
      const auto of_rank = [&](int r) { return 0.1 * static_cast<double>(i % 89) + 1e-7 * r; };
      mine[static_cast<std::size_t>(i)] = of_rank(ranks.rank());
      for (int r = 0; r < ranks.size(); ++r) all[static_cast<std::size_t>(i)] += of_rank(r);
    }
    const Tensor gradients(mine.data(), DType::f64, {size});
    GradientBuckets buckets(runtime, gradients, 100 * 8);
    for (int step = 0; step < 2; ++step) {
      const std::vector<double> before = mine;
      counting.lengths.clear();
      buckets.start();
      buckets.whole_from(990);  // too little
      EXPECT_TRUE(counting.lengths.empty());
      buckets.whole_from(900);  // full
      buckets.whole_from(899);
      buckets.sum_whole();  // whatever there is
      buckets.sum_whole();  // nothing new
      buckets.whole_from(300);
      EXPECT_EQ(mine[299], before[299]);
      EXPECT_EQ(buckets.start_last(), 300);
      buckets.finish();
      buckets.release();
      EXPECT_EQ(counting.lengths, (std::vector<std::int64_t>{100, 1, 599, 300}));
      EXPECT_EQ(mine, all);
      mine = before;
    }
  });
}

TEST(GradientBuckets, OneRankSumsNothing) {
  Communicator alone;
  CountsSums counting(alone);
  Runtime runtime(Device::cpu, &counting);
  std::vector<double> mine(10, 1);
  GradientBuckets buckets(runtime, Tensor(mine.data(), DType::f64, {10}), 8);
  buckets.start();
  buckets.whole_from(3);
  EXPECT_EQ(buckets.start_last(), 0);
  buckets.finish();
  buckets.release();
  EXPECT_TRUE(counting.lengths.empty());
}

// From where on the backward pass says that gradients are whole, they are as at its end.
void expect_whole(const ModelConfig& config, TrainedPart trained) {
  TestModel test(config, true, 11, trained);
  Transformer& model = test.model();
  const Tensor gradients = model.parameters().gradients();
  fill_zero(test.context(), gradients);
  std::vector<std::pair<std::int64_t, std::vector<double>>> told;
  PassHooks hooks;
  hooks.gradients_whole = [&](std::int64_t first) {
    const auto* numbers = gradients.as<double>();
    told.emplace_back(first, std::vector<double>(numbers + first, numbers + gradients.size()));
  };
  model.forward(test.context(), test.batch(0), 0, 1.0);
  model.backward(test.context(), test.batch(0), 0, hooks);
  ASSERT_FALSE(told.empty());
  std::int64_t before = gradients.size() + 1;
  double largest = 0;
  for (const auto& [first, then] : told) {
    EXPECT_LE(first, before);
    before = first;
    const auto* numbers = gradients.as<double>();
    EXPECT_EQ(then, std::vector<double>(numbers + first, numbers + gradients.size()))
        << "from " << first << " of " << gradients.size();
    for (const double gradient : then) largest = std::max(largest, std::abs(gradient));
  }
  if (trained != TrainedPart::all) return;
  EXPECT_GT(largest, 0);
  EXPECT_EQ(told.size(), static_cast<std::size_t>(config.n_layers) + 1);
  EXPECT_GT(before, 0) << "the embedding's are not there yet";
}

TEST(GradientBuckets, WhatIsToldWholeIsWhole) {
  ModelConfig tied = small_memory();
  tied.weight_tying = true;
  ModelConfig beside = small_memory();
  beside.productkey_args.placement = MemoryPlacement::beside;
  ModelConfig normed = small_memory();
  normed.productkey_args.mem_query_norm = QueryNorm::batchnorm;
  for (const ModelConfig& config : {small_dense(), small_memory(), tied, beside, normed}) {
    expect_whole(config, TrainedPart::all);
  }
  expect_whole(beside, TrainedPart::memory);
}

}  // namespace
}  // namespace memengine
