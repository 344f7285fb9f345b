// Buckets of gradients: what is summed when, and that nothing is summed before it is whole.
#include "engine/training/exchange/gradient_buckets.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/model/model_testing.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

// Remembers how many numbers each sum had, in messages or by copies.
class CountsSums : public Communicator {
 public:
  explicit CountsSums(Communicator& ranks) : ranks_(ranks) {}
  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  void all_reduce_sum(const Context& context, Tensor values) override {
    lengths.push_back(values.size());
    ranks_.all_reduce_sum(context, values);
  }
  bool shares_memory() const override { return ranks_.shares_memory(); }
  std::vector<void*> peers(void* mine) override { return ranks_.peers(mine); }
  void meet(const Context& context) override { ranks_.meet(context); }
  void read_peers(const Context&, double bytes, const std::function<void()>& exchange) override {
    // What it reads of f64: its part from each other rank, and their parts.
    lengths.push_back(std::llround(bytes / sizeof(double) * size() / (2 * (size() - 1))));
    exchange();
  }
  std::vector<std::int64_t> lengths;

 private:
  Communicator& ranks_;
};

void sum_in_buckets(Communicator& ranks, const std::vector<std::int64_t>& lengths) {
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
  GradientBuckets buckets(runtime, gradients, 200, 100 * 8);
  for (int step = 0; step < 2; ++step) {
    const std::vector<double> before = mine;
    counting.lengths.clear();
    buckets.start();
    buckets.whole_from({200, 990});  // too little
    EXPECT_TRUE(counting.lengths.empty());
    buckets.whole_from({195, 900});  // full
    buckets.whole_from({195, 899});
    buckets.sum_whole();  // whatever there is, but few of those that are zeroed
    buckets.sum_whole();  // nothing new
    EXPECT_EQ(counting.lengths, (std::vector<std::int64_t>{100, 1}));
    buckets.whole_from({160, 400});
    EXPECT_EQ(mine[399], before[399]);
    EXPECT_EQ(buckets.start_last(), 400);
    buckets.finish();
    buckets.release();
    EXPECT_EQ(counting.lengths, lengths);
    EXPECT_EQ(mine, all);
    ranks.barrier();  // nobody reads the others' any more
    mine = before;
  }
  ranks.barrier();
}

TEST(GradientBuckets, AreSummedOnceEachAsSoonAsTheyAreFull) {
  on_ranks(3, [](Communicator& ranks) { sum_in_buckets(ranks, {100, 1, 499, 400}); });
}

TEST(GradientBuckets, ByCopiesWhatIsZeroedFirstToo) {
  if (mpi_ranks() != nullptr) GTEST_SKIP() << "processes do not share memory";
  on_ranks(
      3,
      [](Communicator& ranks) {
        sum_in_buckets(ranks, {100, 1, 499, 40, 200, 160});
      },
      true);
}

TEST(GradientBuckets, OneRankSumsNothing) {
  Communicator alone;
  CountsSums counting(alone);
  Runtime runtime(Device::cpu, &counting);
  std::vector<double> mine(10, 1);
  GradientBuckets buckets(runtime, Tensor(mine.data(), DType::f64, {10}), 0, 8);
  buckets.start();
  buckets.whole_from({0, 3});
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
  std::vector<std::pair<GradientPlaces, std::vector<double>>> told;
  PassHooks hooks;
  hooks.gradients_whole = [&](const GradientPlaces& first) {
    const auto* numbers = gradients.as<double>();
    told.emplace_back(first, std::vector<double>(numbers, numbers + gradients.size()));
  };
  model.forward(test.context(), test.batch(0), 0, 1.0);
  model.backward(test.context(), test.batch(0), 0, hooks);
  ASSERT_FALSE(told.empty());
  const std::int64_t zeroed = model.parameters().zeroed_gradients();
  GradientPlaces before{zeroed, gradients.size()};
  double largest = 0;
  const auto expect_final = [&](const std::vector<double>& then, std::int64_t first,
                                std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i) {
      const double gradient = gradients.as<double>()[i];
      ASSERT_EQ(then[static_cast<std::size_t>(i)], gradient) << i << " of " << gradients.size();
      largest = std::max(largest, std::abs(gradient));
    }
  };
  for (const auto& [first, then] : told) {
    EXPECT_LE(first.zeroed, before.zeroed);
    EXPECT_LE(first.products, before.products);
    before = first;
    expect_final(then, first.zeroed, zeroed);
    expect_final(then, first.products, gradients.size());
  }
  if (trained != TrainedPart::all) return;
  EXPECT_GT(largest, 0);
  EXPECT_EQ(told.size(), static_cast<std::size_t>(config.n_layers) + 1);
  EXPECT_GT(before.zeroed + before.products, zeroed) << "the embedding's are not there yet";
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
