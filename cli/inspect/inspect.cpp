// memengine inspect PATH: says what a config, shards, a checkpoint or a Hugging Face folder hold.
#include "cli/inspect/inspect.h"

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "engine/config/config.h"
#include "io/checkpoints/checkpoint.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

void inspect(const InspectArguments& arguments) {
  const fs::path& path = arguments.path;
  std::error_code error;
  if (!fs::exists(path, error)) fail_input("{}: no such file or folder", path.string());
  const std::string extension = path.extension().string();
  const bool is_config = extension == ".yaml" || extension == ".yml";
  if (!is_config && !arguments.overrides.empty()) {
    fail_input("{}: '{}' would override a key of a config, but this is none", path.string(),
               arguments.overrides.front());
  }
  if (!is_config && arguments.gpus > 1) {
    fail_input("{}: --gpus plans a config, but this is none", path.string());
  }
  if (is_config) {
    return is_eval_config(path.string(), arguments.overrides) ? inspect_evaluation(arguments)
                                                              : inspect_config(arguments);
  }
  if (extension == ".safetensors") return inspect_checkpoint(arguments);
  if (fs::is_directory(path, error)) {
    if (is_given_model(path)) return inspect_given_model(arguments);
    // A run's folder, its checkpoints, or one of them.
    for (const char* below : {"", "checkpoints"}) {
      const fs::path folder = path / below;
      if (fs::exists(folder / "state.json", error) ||
          fs::exists(folder / "model.safetensors", error) || !checkpoint_steps(folder).empty()) {
        InspectArguments found = arguments;
        found.path = *below == '\0' ? path : folder;
        return inspect_checkpoint(found);
      }
    }
  }
  if (has_shards(path)) return inspect_shards(arguments);
  fail_input(
      "{}: neither a config (.yaml), nor token shards (.bin or a folder of them), nor a checkpoint",
      path.string());
}

}  // namespace

void add_inspect_command(CLI::App& program) {
  CLI::App* command =
      program.add_subcommand("inspect", "Show what a config, shards or a checkpoint hold");
  command->footer(
      "What it is follows from the path:\n\n"
      "  memengine inspect configs/zero_copy.yaml model.productkey_args.mem_n_keys=4096\n"
      "      parameters, FLOPs per token, and the memory plan; nothing is allocated\n"
      "  memengine inspect configs/zero_copy.yaml --device cuda --gpu-memory 80GiB "
      "--host-memory 128GiB\n"
      "      whether it fits a machine that is not here; needs neither GPU nor driver\n"
      "  memengine inspect configs/eval.yaml data_dir=data/eval\n"
      "      tasks and their items, what is missing, the model, and the memory plan\n"
      "  memengine inspect data/novels\n"
      "      documents, tokens, their histogram, a sample; checksums are verified\n"
      "  memengine inspect runs/zero_copy\n"
      "      the newest checkpoint's step, tensors and bytes; every block is verified\n"
      "  memengine inspect SmolLM2-135M-Instruct\n"
      "      a Hugging Face folder: its tensors, and its sizes as a config has them");
  auto arguments = std::make_shared<InspectArguments>();
  command->add_option("path", arguments->path, "A config, shard, checkpoint, or folder of these")
      ->required();
  command->add_option("overrides", arguments->overrides, "a.b.c=value, for a config");
  command->add_option("--device", arguments->device, "Plan a config for cpu or cuda only")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "sp, tiktoken or bytes: decodes the shards' sample")
      ->check(CLI::IsMember({"sp", "tiktoken", "hf", "bytes"}));
  command->add_option("--tokenizer-path", arguments->tokenizer_path,
                      "Its file (default: the one beside the shards)");
  command->add_option("--sample", arguments->sample_tokens, "Tokens of the shards' sample")
      ->check(CLI::Range(0, 65536))
      ->capture_default_str();
  command
      ->add_option("--gpu-memory", arguments->gpu_memory,
                   "Plan for a GPU with so much memory, which need not be here: 80GiB")
      ->type_name("SIZE");
  command
      ->add_option("--host-memory", arguments->host_memory,
                   "Plan for a machine with so much free host memory: 128GiB")
      ->type_name("SIZE");
  command
      ->add_option("--gpus", arguments->gpus,
                   "Plan a config for so many ranks, each with a GPU (or CPU) of its own")
      ->check(CLI::Range(1, 65536));
  command->add_flag("--tensors", arguments->all_tensors,
                    "List every tensor of a checkpoint, and every stored value");
  command->add_flag("--no-verify", arguments->no_verify, "Do not compare checksums");
  command->callback([=] {
    InspectArguments given = *arguments;
    ConfigArguments words = settled({given.path.string(), given.overrides}, "inspect");
    given.path = std::move(words.path);
    given.overrides = std::move(words.overrides);
    inspect(given);
  });
}

}  // namespace memengine
