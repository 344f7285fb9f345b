// From stored scores to tiles on tensor cores.
#include "engine/bench/ladders/ladder.h"
#include "kernels/attention/attention.h"
#include "kernels/ladders/attention/rungs.h"

namespace memengine::bench {

Ladder attention_ladder(Workbench& bench, const LadderOptions& options) {
  const Context& context = bench.context();
  const bool gpu = context.on_cuda();
  const DType dtype = activations(bench);
  const auto batch = options.of<std::int64_t>(2, 1, gpu ? 2 : 1);
  const auto length = options.of<std::int64_t>(99, 256, gpu ? 2048 : 512);
  const AttentionShape shape{.heads = options.of<std::int64_t>(4, 8, gpu ? 16 : 8),
                             .kv_heads = options.of<std::int64_t>(2, 8, gpu ? 16 : 8),
                             .head_dim = 64};
  const Tensor qkv = ladder_numbers(
      bench, options, dtype, {batch, length, shape.heads + 2 * shape.kv_heads, shape.head_dim});
  const Tensor out = bench.zeros(dtype, {batch, length, shape.heads, shape.head_dim});
  const Tensor log_sum_exp = bench.zeros(DType::f32, {batch, shape.heads, length});
  bench.reserve_scratch(
      std::max(ladders::scores_scratch_bytes(batch, length, shape),
               attention_scratch_bytes(context.device, dtype, batch, length, shape)));
  Ladder ladder;
  ladder.shape = fmt::format("[{} sequences of {} tokens, {} heads of {}]", batch, length,
                             shape.heads, shape.head_dim);
  ladder.reset = [=, &bench] {
    fill_zero(bench.context(), out);
    fill_zero(bench.context(), log_sum_exp);
  };
  ladder.result = [=, &bench] {
    std::vector<double> all = numbers_of(bench, out);
    const std::vector<double> more = numbers_of(bench, log_sum_exp);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const std::string folder = "kernels/ladders/attention/";
  Rung tiles{"tiles",
             folder + "tiles",
             "64 queries read each key and value from shared memory, where it was put once for all "
             "of them.",
             {}};
  if constexpr (cuda_build) {
    if (gpu) {
      tiles.run = [=, &bench] {
        ladders::cuda::tiles(bench.context(), out, log_sum_exp, qkv, shape);
      };
    }
  }
  ladder.rungs = {
      {"scores_stored", folder + "scores_stored",
       "All scores of a head are stored, read for the softmax, and read again for the sum.",
       [=, &bench] { ladders::scores_stored(bench.context(), out, log_sum_exp, qkv, shape); }},
      {"online", folder + "online",
       gpu ? "A query keeps the largest score and two sums while it walks over its keys: no score "
             "is "
             "stored."
           : "A query keeps the largest score and two sums while it walks over its keys: no score "
             "is "
             "stored. Where the caches would hold a head's scores, that saves memory rather than "
             "time.",
       [=, &bench] { ladders::online(bench.context(), out, log_sum_exp, qkv, shape); }},
      std::move(tiles),
      {"attention_forward", "kernels/attention/attention",
       gpu ? "Both products of a tile run on tensor cores, and the next tile is fetched meanwhile."
           : "32 queries at a time are two matrix products around a softmax, which the library "
             "does "
             "from the caches.",
       [=, &bench] { attention_forward(bench.context(), out, log_sum_exp, qkv, {}, shape); }}};
  return ladder;
}

}  // namespace memengine::bench
