// memengine export MODEL --out DIR [--format reference|hf]
#include <fmt/core.h>

#include <filesystem>
#include <map>
#include <string>

#include "cli/command.h"
#include "engine/export.h"
#include "engine/memory_plan.h"

namespace memengine {

void add_export_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "export", "Write a model's weights as one safetensors file, or as a Hugging Face Llama");
  command->footer("  memengine export runs/demo --out exported --format hf");
  struct Arguments {
    std::string model, out, tokenizer;
    ExportFormat format = ExportFormat::reference;
  };
  auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("model", arguments->model,
                   "A checkpoint, a run's folder, or a Hugging Face Llama folder")
      ->required();
  command->add_option("--out", arguments->out, "Folder to write to")->required();
  command
      ->add_option("--format", arguments->format,
                   "reference (names of the reference, memory layers too) or hf (dense models)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, ExportFormat>{
          {"reference", ExportFormat::reference}, {"hf", ExportFormat::hugging_face}}));
  command->add_option("--tokenizer", arguments->tokenizer,
                      "Tokenizer file in place of the model's own");
  command->callback([=] {
    const ModelSource source = find_model(arguments->model, arguments->tokenizer);
    const std::uint64_t bytes = export_model(source, arguments->format, arguments->out);
    fmt::print("{} -> {} ({})\n", source.folder.string(),
               (std::filesystem::path(arguments->out) / "model.safetensors").string(),
               bytes_text(static_cast<std::int64_t>(bytes)));
  });
}

}  // namespace memengine
