// What each of several ranks takes, and what a step sends between them.
#include <algorithm>

#include "cli/inspect/inspect.h"
#include "cli/terminal.h"
#include "engine/training/training_model.h"

namespace memengine {
namespace {

// Bytes that one rank sends in a step, at most: as if no two picks were of the same row.
struct Sent {
  std::int64_t dense = 0;      // gradients, as a ring adds them up
  std::int64_t asked = 0;      // row numbers, to their owners
  std::int64_t answered = 0;   // rows, from their owners
  std::int64_t delivered = 0;  // gradients of rows, to their owners
  std::int64_t weights = 0;    // that a rank has updated for all

  std::int64_t all() const { return dense + asked + answered + delivered + weights; }
};

Sent sent_by_a_rank(const RunConfig& config, Device device) {
  ModelMemory planning;
  const Transformer transformer(config.model, training_size(config, device), planning);
  const std::int64_t ranks = config.ranks.size;
  const auto to_others = [ranks](std::int64_t bytes) { return bytes * (ranks - 1) / ranks; };
  Sent sent;
  sent.dense = 2 * to_others(transformer.parameters().gradients().bytes());
  if (config.distributed.zero1) {
    const ParameterStore& parameters = transformer.parameters();
    sent.weights = to_others(parameters.values().bytes() +
                             (parameters.compute().empty() ? 0 : parameters.compute().bytes()));
  }
  const ProductKeyConfig& args = config.model.productkey_args;
  const std::int64_t picks =
      config.data.batch_size * config.data.seq_len * args.mem_heads * args.mem_knn;
  for (const MemoryBank& bank : transformer.banks()) {
    const std::int64_t rows = bank.values().table_rows();
    const std::int64_t lookups = bank.slots();  // of all its layers and micro-batches
    const std::int64_t of_lookup = std::min(picks, rows);
    sent.asked += lookups * to_others(4 * of_lookup);
    for (const ValueTable& table : bank.tables()) {
      const std::int64_t v_dim = table.rows().v_dim();
      sent.answered += lookups * to_others(of_lookup * v_dim * element_bytes(table.answer_dtype()));
      sent.delivered += to_others(std::min(lookups * picks, rows) * v_dim * 4);
    }
  }
  return sent;
}

}  // namespace

void print_ranks(const RunConfig& config, int ranks, Device device) {
  std::vector<MemoryPlan> plans;
  for (int rank = 0; rank < ranks; ++rank) {
    RunConfig own = config;
    own.ranks = {rank, ranks};
    // GPUs are taken to be of one host, where they read one another's memory.
    plans.push_back(TrainingModel::plan(own, device, device == Device::cuda));
  }
  print("\n{} ranks, each on {} of its own\n", ranks,
        device == Device::cuda ? "a GPU" : "processor cores");
  for (int first = 0, end = 0; first < ranks; first = end) {
    const MemoryPlan& plan = plans[static_cast<std::size_t>(first)];
    while (end < ranks && plans[static_cast<std::size_t>(end)].device == plan.device &&
           plans[static_cast<std::size_t>(end)].host == plan.host) {
      ++end;
    }
    const std::string who = first + 1 == end ? fmt::format("rank {}", first)
                                             : fmt::format("ranks {} to {}, each", first, end - 1);
    print("  {:<22} {} {}{}\n", who, bytes_text(plan.device_bytes()),
          device == Device::cuda ? "of GPU memory" : "of memory",
          plan.host_bytes() > 0 ? ", " + bytes_text(plan.host_bytes()) + " of host memory" : "");
  }
  RunConfig whole = config;
  whole.ranks = {};
  print("  {:<22} {}, written by all of them\n", "disk for a checkpoint",
        bytes_text(TrainingModel::plan(whole, device).checkpoint_bytes));
  const Sent sent = sent_by_a_rank(config, device);
  print("  a step sends at most {} from each rank, {:.0f} bytes per token:\n",
        bytes_text(sent.all()),
        static_cast<double>(sent.all()) * ranks / static_cast<double>(config.tokens_per_step()));
  print("    {:<20} {}\n", "dense gradients", bytes_text(sent.dense));
  if (sent.weights > 0) print("    {:<20} {}\n", "weights", bytes_text(sent.weights));
  if (sent.asked == 0) return;
  print("    {:<20} {}\n", "row numbers", bytes_text(sent.asked));
  print("    {:<20} {}\n", "rows", bytes_text(sent.answered));
  print("    {:<20} {}\n", "gradients of rows", bytes_text(sent.delivered));
}

}  // namespace memengine
