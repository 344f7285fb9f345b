// From a read per pick to processor and GPU side by side.
#include <algorithm>
#include <optional>

#include "engine/bench/ladders/ladder.h"
#include "kernels/ladders/host_gather/rungs.h"
#include "kernels/table/host_gather/host_gather.h"

namespace memengine::bench {
namespace {

// Page-locked where there is a GPU.
struct GatherSpace {
  HostBlock table, staging;
  std::optional<HostGather> host_gather;
  ladders::OneBuffer one_buffer;
  bool by_pick = false;  // the rung that ran last has a row for each pick
};

}  // namespace

Ladder host_gather_ladder(Workbench& bench, const LadderOptions& options) {
  const Context& context = bench.context();
  const bool gpu = context.on_cuda();
  const auto v_dim = options.of<std::int64_t>(72, 128, 128);
  const auto picks = options.of<std::int64_t>(999, 65536, gpu ? 524288 : 65536);
  const double wanted = gpu ? options.of(0.0, 1.0, options.table_gib) : options.of(0.0, 0.25, 0.5);
  const std::int64_t table_rows =
      options.tiny() ? 989 : static_cast<std::int64_t>(wanted * 0x1p30) / (2 * v_dim);
  const auto space = std::make_shared<GatherSpace>();
  space->table = HostBlock(table_rows * v_dim * 2, gpu, "the ladder's table");
  ValueRows table;
  table.layout.v_dim = v_dim;
  table.rows = table_rows;
  table.hi = reinterpret_cast<std::uint16_t*>(space->table.data());
  // Copies take as long whatever is copied; a test wants to see that it is the right row.
  for (std::int64_t i = 0; options.tiny() && i < table_rows * v_dim; ++i) {
    table.hi[i] = to_bfloat16(static_cast<float>(i % 251)).bits;
  }
  const Tensor pick_list =
      bench.integers(random_picks(PickPattern::uniform, picks, table_rows, 11));
  const UniqueRows unique = allocate_unique(bench, picks, table_rows);
  bench.reserve_scratch(deduplicate_scratch_bytes(context.device, picks, table_rows));
  deduplicate(context, unique, pick_list, table_rows);
  const std::int64_t distinct = unique_count(bench, unique);
  const Tensor out = bench.zeros(DType::bf16, {picks, v_dim});
  const std::int64_t capacity = unique.capacity();
  const Tensor listed = out.rows(0, capacity);
  const std::int64_t list_bytes = (4 * (capacity + 1) + 255) / 256 * 256;
  space->staging = HostBlock(list_bytes + listed.bytes(), gpu, "the ladder's buffer");
  space->one_buffer = {table, Tensor(space->staging.data(), DType::i32, {capacity + 1}),
                       Tensor(space->staging.data() + list_bytes, DType::bf16, {capacity, v_dim})};
  space->host_gather.emplace(context.device, capacity, v_dim);
  const std::function<void()> gpu_reads = [=, &bench] {
    space->by_pick = false;
    gather_rows(bench.context(), listed, table, unique, ValuePrecision::bf16, {});
  };
  const std::function<void()> host_gathers = [=, &bench] {
    space->by_pick = false;
    space->host_gather->gather(bench.context(), listed, table, unique);
  };
  if (options.tiny()) {
    space->host_gather->set_gpu_share(gpu ? 0.4 : 0);
  } else if (gpu) {
    // As a run measures it when it starts.
    space->host_gather->set_gpu_share(0);
    const double processor = bench.seconds(host_gathers);
    space->host_gather->set_gpu_share(processor / (processor + bench.seconds(gpu_reads)));
  }

  Ladder ladder;
  ladder.kept = {space};
  ladder.shape = fmt::format(
      "{} picks of {} rows of {} B, {:.1f}% distinct; their list is made before", picks, table_rows,
      2 * v_dim, 100.0 * static_cast<double>(distinct) / static_cast<double>(picks));
  ladder.reset = [=, &bench] { fill_zero(bench.context(), out); };
  // A row for each pick.
  ladder.result = [=, &bench] {
    const std::vector<double> rows = numbers_of(bench, out);
    if (space->by_pick) return rows;
    std::vector<double> all;
    for (const double place : numbers_of(bench, unique.inverse)) {
      const auto first = rows.begin() + static_cast<std::int64_t>(place) * v_dim;
      all.insert(all.end(), first, first + v_dim);
    }
    return all;
  };
  const std::string folder = "kernels/ladders/host_gather/";
  ladder.rungs = {
      {"in_order", folder + "in_order",
       gpu ? "The GPU reads each pick's row through the link, in the order of the picks."
           : "One thread copies each pick's row, in the order of the picks.",
       [=, &bench] {
         space->by_pick = true;
         ladders::in_order(bench.context(), out, table, pick_list);
       }},
      {"distinct", folder + "distinct",
       "Of the sorted list of distinct rows none is read twice, and neighbours share translations "
       "of "
       "addresses.",
       [=, &bench] {
         space->by_pick = false;
         ladders::distinct(bench.context(), listed, table, unique);
       }},
      {"gather_rows", "kernels/table/value_rows",
       "Each thread has four reads under way, and few blocks are enough for the link: what the "
       "engine uses for tables that are not huge.",
       gpu ? gpu_reads : std::function<void()>()},
      {"one_buffer", folder + "one_buffer.cpp",
       gpu ? "The processor's threads gather, sixteen rows on their way to each, and one copy "
             "takes "
             "them over the link at its full rate."
           : "All threads gather, with sixteen rows on their way to each.",
       [=, &bench] {
         space->by_pick = false;
         ladders::one_buffer(bench.context(), listed, space->one_buffer, unique);
       }},
      {"HostGather::gather", "kernels/table/host_gather/host_gather.cpp",
       "One buffer is filled while another is copied, and the GPU reads its share of the rows "
       "meanwhile.",
       gpu || options.tiny() ? host_gathers : std::function<void()>()}};
  return ladder;
}

}  // namespace memengine::bench
