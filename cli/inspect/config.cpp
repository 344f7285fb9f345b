// A config in numbers: the model is built on planning arenas, which count and allocate nothing.
#include <fmt/core.h>

#include "cli/inspect/inspect.h"
#include "cli/terminal.h"
#include "engine/config/absent_gpu.h"
#include "engine/config/config.h"
#include "engine/run/run_data.h"
#include "engine/run/run_files.h"
#include "engine/run/settle_evaluation.h"
#include "engine/training/plan_advice.h"
#include "engine/training/training_model.h"
#include "kernels/attention/attention.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/gpu_code.h"

namespace memengine {
namespace {

// A config may leave the vocabulary to its tokenizer, whose file need not be here.
void settle_vocabulary(RunConfig& config) {
  if (config.model.vocab_size > 0) return;
  constexpr std::int64_t assumed = 32000;
  try {
    config.model.vocab_size = open_tokenizer(config.data.tokenizer)->vocab_size();
  } catch (const Error&) {
    config.model.vocab_size = assumed;
    const auto& path = config.data.tokenizer.path;
    print("note: {}; a vocabulary of {} is assumed (set model.vocab_size)\n",
          path ? "there is no tokenizer at " + *path : "data.tokenizer.path is not given",
          grouped(assumed));
  }
}

std::string counts(std::int64_t number) {
  return number < 10000
             ? grouped(number)
             : fmt::format("{} ({})", grouped(number), count_text(static_cast<double>(number)));
}

void print_row(const char* title, const std::string& text) {
  print("  {:<22} {}\n", title, text);
}

void print_model(const RunConfig& config) {
  const ModelConfig& model = config.model;
  const ProductKeyConfig& args = model.productkey_args;
  ModelMemory planning;
  const Transformer transformer(model, training_size(config, Device::cpu), planning);
  const std::vector<std::int64_t> layers = model.memory_layers();
  print_row("transformer",
            fmt::format("{} layers, dim {}, {} heads of {}, vocabulary {}", model.n_layers,
                        model.dim, model.heads(), model.head_size(), grouped(model.vocab_size)));
  if (config.distributed.model_dtype == ModelDtype::bf16 &&
      !has_hopper_attention(model.head_size())) {
    print_row("attention", fmt::format("heads of {} take the general kernels; those of 32, 64 and "
                                       "128 have faster ones on Hopper GPUs (9.0)",
                                       model.head_size()));
  }
  if (static_cast<std::int64_t>(layers.size()) < model.n_layers) {
    print_row("feed-forward", fmt::format("SwiGLU, {} wide", grouped(model.ffn_hidden())));
  }
  std::int64_t tables = 0, values = 0, rows = 0;
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      ++tables;
      rows += table.table_rows();
      values += table.table_rows() * table.rows().v_dim();
    }
  }
  if (!layers.empty()) {
    std::string list;
    for (const std::int64_t layer : layers)
      list += (list.empty() ? "" : ", ") + std::to_string(layer);
    print_row("memory", fmt::format("in {} {}: {} heads pick {} of {} rows each",
                                    layers.size() == 1 ? "layer" : "layers", list, args.mem_heads,
                                    args.mem_knn, grouped(args.rows())));
    print_row("value tables",
              fmt::format("{}, {} rows of {} in all, {}", tables, grouped(rows), model.value_dim(),
                          args.zero_copy ? "in host memory" : "on the device"));
  }
  const std::int64_t dense = transformer.parameters().parameter_count();
  print_row("parameters, dense", counts(dense));
  if (config.train != TrainedPart::all) {
    print_row("trained", fmt::format("{} of them{}; the rest has no gradients and no moments",
                                     counts(transformer.parameters().trained_count()),
                                     values > 0 ? ", and the value tables" : ""));
  }
  if (config.rows_per_step) {
    print_row("rows updated",
              fmt::format("at most {} of a table in a step", grouped(*config.rows_per_step)));
  }
  if (values > 0) {
    print_row("parameters, values", counts(values));
    print_row("parameters, all", counts(dense + values));
  }
  const std::int64_t flops = transformer.training_flops_per_token();
  print_row("FLOPs per token", counts(flops) + ", forward and backward");
  const std::int64_t tokens = config.tokens_per_step();
  print_row("a step",
            fmt::format("{} tokens ({} x {} of {})", grouped(tokens), config.grad_acc_steps,
                        config.data.batch_size, config.data.seq_len));
  if (!layers.empty()) {
    const std::int64_t picks =
        tokens * static_cast<std::int64_t>(layers.size()) * args.mem_heads * args.mem_knn;
    print_row("rows picked in a step", counts(picks));
  }
  const double all_tokens = static_cast<double>(tokens) * static_cast<double>(config.steps);
  print_row("the run",
            fmt::format("{} steps, {} tokens, {:.2g} FLOPs", grouped(config.steps),
                        count_text(all_tokens), all_tokens * static_cast<double>(flops)));
}

std::string fits(const RunConfig& config, const MemoryPlan& plan, Device device,
                 const std::optional<MemoryBudget>& budget, const char* where) {
  if (!budget) return "whether it fits: say how large the GPU is (--gpu-memory 80GiB)";
  const std::optional<std::string> shortage = plan_shortage(plan, device, *budget);
  if (!shortage) return fmt::format("it fits in what {}", where);
  return fmt::format("it does not fit: {}: {}", *shortage, keys_that_fit(config, device, *budget));
}

}  // namespace

void inspect_config(const InspectArguments& arguments) {
  RunConfig config = load_run_config(arguments.path, arguments.overrides, {0, arguments.gpus});
  settle_vocabulary(config);
  print("{}: {}\n", arguments.path.string(), config.name);
  for (const std::string& notice : config.notices) print("note: {}\n", notice);
  for (const std::string& notice : settle_evaluation(config).notices) {
    print("note: {}\n", notice);
  }
  print_model(config);
  print_row("GPU code in this program", describe_gpu_code());
  const bool gpu_is_here = can_be_asked(Device::cuda);
  const bool told = !arguments.gpu_memory.empty() || !arguments.host_memory.empty();
  std::vector<Device> devices;
  if (arguments.device == "cuda" ||
      (arguments.device.empty() && (gpu_is_here || !arguments.gpu_memory.empty()))) {
    devices.push_back(Device::cuda);
  }
  if (arguments.device != "cuda") devices.push_back(Device::cpu);
  if (devices.front() == Device::cpu && arguments.device.empty()) {
    print(
        "note: no GPU is here, so this is the plan for the CPU alone; --device cuda --gpu-memory "
        "80GiB plans for one\n");
  }
  for (const Device device : devices) {
    const MemoryPlan plan = TrainingModel::plan(config, device);
    print("\nmemory for training on {}\n{}  {}\n", device == Device::cuda ? "a GPU" : "the CPU",
          Lines{plan_text(plan, device)},
          fits(config, plan, device, inspected_budget(arguments, device),
               told ? "was told" : "is free here now"));
    if (arguments.gpus > 1) print_ranks(config, arguments.gpus, device);
    if (device == Device::cpu && config.distributed.model_dtype == ModelDtype::bf16) {
      print("  it computes in FP32: distributed.model_dtype=bf16 is for GPUs\n");
    }
  }
}

std::optional<MemoryBudget> inspected_budget(const InspectArguments& arguments, Device device) {
  const bool gpu = device == Device::cuda;
  if (gpu && arguments.gpu_memory.empty() && !can_be_asked(device)) return std::nullopt;
  MemoryBudget budget = MemoryBudget::here(can_be_asked(device) ? device : Device::cpu);
  if (!arguments.gpu_memory.empty()) {
    budget.gpu_bytes = parse_bytes(arguments.gpu_memory, "--gpu-memory");
  }
  if (!arguments.host_memory.empty()) {
    budget.host_bytes = parse_bytes(arguments.host_memory, "--host-memory");
    budget.words = "were told (--host-memory)";
  }
  return budget;
}

}  // namespace memengine
