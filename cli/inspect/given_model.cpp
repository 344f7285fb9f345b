// A Hugging Face folder: its tensors, and its model in the words of a config, to begin a run's
// with.
#include <map>

#include "cli/inspect/inspect.h"
#include "cli/terminal.h"
#include "engine/model_files/model_source.h"
#include "engine/run/run_data.h"
#include "io/config/yaml_tree.h"
#include "io/files/is_there.h"

namespace memengine {
namespace {

// "model.rope_scaling.factor: 8" as the lines of a config have it, one level in.
std::string nested(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string text = "model:\n", open;
  for (const auto& [key, value] : values) {
    const std::string below = key.substr(std::string_view("model.").size());
    const std::size_t dot = below.find('.');
    if (dot == below.npos) {
      text += fmt::format("  {}: {}\n", below, value);
      continue;
    }
    if (open != below.substr(0, dot)) text += fmt::format("  {}:\n", open = below.substr(0, dot));
    text += fmt::format("    {}: {}\n", below.substr(dot + 1), value);
  }
  return text;
}

// What the model differs in from a config that says nothing.
std::string model_section(const ModelSource& source) {
  RunConfig given, plain;
  given.model = source.model;
  std::map<std::string, std::string> usual;
  for (const auto& [key, value] : config_values(plain)) usual[key] = value;
  std::vector<std::pair<std::string, std::string>> values;
  for (const auto& [key, value] : config_values(given)) {
    // A run reads data.seq_len at once, and gives its model as much room.
    if (!key.starts_with("model.") || usual[key] == value || key == "model.max_seqlen") continue;
    values.emplace_back(key, value);
  }
  return nested(values);
}

}  // namespace

bool is_given_model(const std::filesystem::path& path) {
  return is_there(path / "config.json") && !is_there(path / "state.json");
}

void inspect_given_model(const InspectArguments& arguments) {
  const ModelSource source = find_model(arguments.path);
  for (const std::string& notice : source.notices) print("note: {}\n", notice);
  inspect_checkpoint(arguments);
  std::string config = "  as a training config has it:\n\n" + model_section(source) + "data:\n";
  config += fmt::format("  add_bos: {}\n", source.add_bos);
  if (source.tokenizer) {
    config +=
        fmt::format("  tokenizer: {{name: {}, path: {}}}\n", tokenizer_name(source.tokenizer->name),
                    yaml_quote(source.tokenizer->path.value_or("")));
  }
  config += fmt::format("checkpoint: {{init_ckpt_path: {}}}", yaml_quote(source.folder.string()));
  print("{}\n", Lines{config});
}

}  // namespace memengine
