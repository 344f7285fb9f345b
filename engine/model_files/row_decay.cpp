// Reads the past decay, or computes it from the config as checkpoints before it was stored did.
#include "engine/model_files/row_decay.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>

#include "engine/config/config.h"
#include "engine/config/row_optimizer_choice.h"
#include "optim/schedule.h"

namespace memengine {

std::vector<double> past_row_decay(const Checkpoint& checkpoint) {
  const std::int64_t step = checkpoint.step();
  const auto count = static_cast<std::size_t>(step) + 1;
  std::vector<double> decay(count);
  if (const TensorInfo* stored = checkpoint.find(past_decay_name)) {
    if (stored->dtype != FileDtype::f64 || stored->bytes != count * sizeof(double)) {
      fail_input("{}: tensor '{}' does not fit a checkpoint of step {}",
                 checkpoint.folder().string(), stored->name, step);
    }
    checkpoint.read(past_decay_name, 0, std::as_writable_bytes(std::span(decay)));
    return decay;
  }
  const RunConfig run = parse_run_config(checkpoint.get<std::string>("run", "config"),
                                         (checkpoint.folder() / "state.json").string());
  const ProductKeyConfig& args = run.model.productkey_args;
  if (!args.is_enabled || args.value_weight_decay == 0 || !row_optimizer(args).decays_lazily) {
    return decay;
  }
  const Schedule planned = make_schedule(run.optim, args.value_fixed_lr.value_or(run.optim.lr),
                                         args.value_weight_decay, std::max(run.steps, step));
  std::copy_n(planned.value_log_decay.begin(), count, decay.begin());
  return decay;
}

}  // namespace memengine
