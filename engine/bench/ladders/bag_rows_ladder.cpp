// From additions as they come to segments of sorted picks.
#include "engine/bench/ladders/ladder.h"
#include "kernels/bag/embedding_bag.h"
#include "kernels/ladders/bag_rows/rungs.h"

namespace memengine::bench {

Ladder bag_rows_ladder(Workbench& bench, const LadderOptions& options) {
  const Context& context = bench.context();
  const bool gpu = context.on_cuda();
  const DType dtype = activations(bench);
  const auto tokens = options.of<std::int64_t>(99, 1024, gpu ? 16384 : 1024);
  const auto per_token = options.of<std::int64_t>(19, 128, 128);
  const auto columns = options.of<std::int64_t>(72, 128, 128);
  const auto table_rows = options.of<std::int64_t>(989, 262144, 262144);
  const std::int64_t picks = tokens * per_token;
  // A few rows have most of the picks, as in text; in the test one has half of them.
  std::vector<std::int32_t> drawn = random_picks(PickPattern::skewed, picks, table_rows, 11);
  for (std::size_t i = 0; options.tiny() && i < drawn.size(); i += 2) drawn[i] = 19;
  const Tensor pick_list = bench.integers(drawn);
  const UniqueRows unique = allocate_unique(bench, picks, table_rows);
  const Tensor coefficients = ladder_numbers(bench, options, dtype, {tokens, per_token});
  const Tensor vectors = ladder_numbers(bench, options, dtype, {tokens, columns});
  const Tensor gradients = bench.zeros(DType::f32, {unique.capacity(), columns});
  const Tensor square_sum = bench.zeros(DType::f64, {1});
  bench.reserve_scratch(std::max({deduplicate_scratch_bytes(context.device, picks, table_rows),
                                  ladders::chunks_scratch_bytes(picks, columns),
                                  embedding_bag_scratch_bytes(context.device, picks, columns)}));
  deduplicate(context, unique, pick_list, table_rows);
  const std::int64_t distinct = unique_count(bench, unique);

  Ladder ladder;
  ladder.shape = fmt::format("[{} tokens, {} picks] of {} different rows of {} numbers", tokens,
                             per_token, distinct, columns);
  ladder.reset = [=, &bench] { fill_zero(bench.context(), gradients); };
  ladder.result = [=, &bench] { return numbers_of(bench, gradients.rows(0, distinct)); };
  const std::string folder = "kernels/ladders/bag_rows/";
  Rung chunks{"chunks",
              folder + "chunks",
              "Every 64 sorted picks are a warp's, whatever rows they are of, so that a row with "
              "many picks is many warps' work.",
              {}};
  if constexpr (cuda_build) {
    if (gpu) {
      chunks.run = [=, &bench] {
        ladders::cuda::chunks(bench.context(), gradients, coefficients, vectors, unique);
      };
    }
  }
  ladder.rungs = {
      {"as_they_come", folder + "as_they_come",
       gpu ? "Every pick adds to its row with an atomic operation, and waits for others that add "
             "to "
             "the same one."
           : "One thread adds every pick to its row, wherever in memory that is.",
       [=, &bench] {
         ladders::as_they_come(bench.context(), gradients, coefficients, vectors, unique);
       }},
      {"row_per_worker", folder + "row_per_worker",
       "With the picks sorted by row, a row is summed by one worker, which writes it once.",
       [=, &bench] {
         ladders::row_per_worker(bench.context(), gradients, coefficients, vectors, unique);
       }},
      std::move(chunks),
      {"embedding_bag_backward_rows", "kernels/bag/embedding_bag",
       gpu ? "Threads take 16 bytes at a time and have eight vectors under way, slab by slab of "
             "what "
             "the L2 cache holds."
           : "Segments of 512 sorted picks keep all threads alike busy, and sums stay in vector "
             "registers.",
       [=, &bench] {
         embedding_bag_backward_rows(bench.context(), gradients, square_sum, coefficients, vectors,
                                     unique);
       }}};
  return ladder;
}

}  // namespace memengine::bench
