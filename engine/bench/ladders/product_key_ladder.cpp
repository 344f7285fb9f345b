// From all n^2 keys to 2 n scores that are never stored.
#include "engine/bench/ladders/ladder.h"
#include "kernels/ladders/product_key/rungs.h"
#include "kernels/product_key/product_key.h"

namespace memengine::bench {

Ladder product_key_ladder(Workbench& bench, const LadderOptions& options) {
  const Context& context = bench.context();
  const bool gpu = context.on_cuda();
  const DType dtype = activations(bench);
  const ProductKeyShape shape{.tokens = options.of<std::int64_t>(37, 64, gpu ? 2048 : 64),
                              .heads = options.of<std::int64_t>(3, 4, 4),
                              .knn = options.of<std::int64_t>(19, 32, 32),
                              .n_keys = options.of<std::int64_t>(99, 256, gpu ? 512 : 256),
                              .k_dim = options.of<std::int64_t>(48, 256, 256),
                              .dtype = dtype};
  const Tensor query =
      ladder_numbers(bench, options, dtype, {shape.tokens, shape.heads, shape.k_dim});
  const Tensor sub_keys =
      ladder_numbers(bench, options, dtype, {shape.heads, 2, shape.n_keys, shape.k_dim / 2});
  const Tensor indices = bench.zeros(DType::i32, {shape.tokens, shape.heads, shape.knn});
  const Tensor weights = bench.zeros(dtype, {shape.tokens, shape.heads, shape.knn});
  bench.reserve_scratch(std::max(ladders::lookup_scratch_bytes(shape),
                                 product_key_scratch_bytes(context.device, shape)));
  Ladder ladder;
  ladder.shape = fmt::format("[{} tokens, {} heads], {} of {}^2 keys of {} numbers", shape.tokens,
                             shape.heads, shape.knn, shape.n_keys, shape.k_dim);
  ladder.reset = [=, &bench] {
    fill_zero(bench.context(), indices);
    fill_zero(bench.context(), weights);
  };
  // Rows, then weights.
  ladder.result = [=, &bench] {
    std::vector<double> all = numbers_of(bench, indices);
    const std::vector<double> more = numbers_of(bench, weights);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const std::string folder = "kernels/ladders/product_key/";
  ladder.rungs = {
      {"all_pairs", folder + "all_pairs", "The score of every one of the n^2 keys is looked at.",
       [=, &bench] { ladders::all_pairs(bench.context(), indices, weights, query, sub_keys); }},
      {"two_halves", folder + "two_halves",
       "A key's score is the sum of its halves', so the best keys are made of the best halves: 2 n "
       "scores and knn^2 pairs instead of n^2.",
       [=, &bench] { ladders::two_halves(bench.context(), indices, weights, query, sub_keys); }},
      {"staircase", folder + "staircase",
       gpu ? "A warp selects in its registers instead of a block in rounds with barriers, and "
             "walks "
             "down the staircase of pairs that can be among the best."
           : "Scores below the worst of the best so far are passed over, and of the knn^2 pairs "
             "only "
             "the staircase is added up: 119 of 1,024.",
       [=, &bench] { ladders::staircase(bench.context(), indices, weights, query, sub_keys); }},
      {"product_key_forward", "kernels/product_key/forward",
       gpu ? "Scores are made on tensor cores and selected from where they were made: they are "
             "never "
             "stored."
           : "A tile's scores stay in the cache, and sixteen lookups select side by side, a vector "
             "lane each.",
       [=, &bench] { product_key_forward(bench.context(), indices, weights, query, sub_keys); }}};
  return ladder;
}

}  // namespace memengine::bench
