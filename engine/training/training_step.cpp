// One step, top to bottom.
#include "engine/training/training_step.h"

#include "kernels/reduce.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

bool step_is_recorded(const RunConfig& config, const TrainingModel& model) {
  return config.cuda_graph && !model.asks_host();
}

void compute_step(const Context& context, TrainingModel& model, const BatchBuffers& batches,
                  std::int64_t micro_batches, double gradient_scale, Probe* probe) {
  Transformer& transformer = model.transformer();
  transformer.parameters().clear_gradients(context);
  for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
    batches.derive(context, micro);
    const TokenBatch batch = batches.batch(micro);
    PassHooks hooks;
    if (micro + 1 == micro_batches) {
      hooks.picked = [&](const MemoryBank& bank) { model.row_exchange().start(bank); };
      hooks.rows_done = [&] { model.reduce_rows(); };
      hooks.gradients_whole = [&](const GradientPlaces& places) {
        model.gradient_buckets().whole_from(places);
      };
      if (probe != nullptr) probe->attach(context, hooks);
    }
    transformer.forward(context, batch, micro, gradient_scale, hooks);
    sum(context, batches.loss_parts().rows(micro, 1), transformer.losses(), gradient_scale);
    model.gradient_buckets().start();
    transformer.backward(context, batch, micro, hooks);
  }
  sum(context, batches.loss(), batches.loss_parts(), 1.0);
  {
    const ExchangePurpose purpose(*context.communicator, "loss");
    context.communicator->all_reduce_sum(context, batches.loss());
  }
  model.finish_step();
}

}  // namespace memengine
