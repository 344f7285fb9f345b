// memengine export MODEL --out DIR [--format reference|hf]
#include <fmt/core.h>

#include <filesystem>
#include <string>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/config/memory_plan.h"
#include "engine/model_files/export.h"

namespace memengine {

void add_export_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "export", "Write a model's weights as one safetensors file, or as a Hugging Face Llama");
  command->footer("  memengine export runs/laptop --out exported --format hf");
  struct Arguments {
    std::string model, out, tokenizer;
    std::string format = "reference";
  };
  auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("model", arguments->model,
                   "A checkpoint, a run's folder, or a Hugging Face Llama folder")
      ->required();
  command->add_option("--out", arguments->out, "Folder to write to")
      ->transform(home_path())
      ->required();
  command
      ->add_option("--format", arguments->format,
                   "Names of the reference (memory layers too), or Hugging Face's (dense models)")
      ->check(CLI::IsMember({"reference", "hf"}))
      ->capture_default_str();
  command->add_option("--tokenizer", arguments->tokenizer,
                      "Tokenizer file in place of the model's own");
  command->callback([=] {
    const ModelSource source = find_model(arguments->model, arguments->tokenizer);
    const ExportFormat format =
        arguments->format == "hf" ? ExportFormat::hugging_face : ExportFormat::reference;
    const std::uint64_t bytes = export_model(source, format, arguments->out);
    print("{} -> {} ({})\n", source.folder.string(),
          (std::filesystem::path(arguments->out) / "model.safetensors").string(),
          bytes_text(static_cast<std::int64_t>(bytes)));
  });
}

}  // namespace memengine
