// Loads a model into host memory and streams it out again in the form asked for.
#include "engine/model_files/export.h"

#include "engine/inference/inference_model.h"
#include "engine/model_files/hugging_face.h"
#include "engine/model_files/model_files.h"
#include "engine/run/run_data.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// The config of an exported model: that of the run it comes from, or one made for imported weights.
RunConfig exported_config(const ModelSource& source, bool with_tokenizer) {
  RunConfig config;
  if (source.run) {
    config = *source.run;
  } else {
    config.name = source.folder.filename().string();
    config.dump_dir = "runs/" + config.name;
    config.data.seq_len = source.model.max_seqlen;
    config.data.batch_size = 1;
    config.data.add_bos = source.add_bos;
  }
  config.model = source.model;
  if (source.tokenizer) config.data.tokenizer = *source.tokenizer;
  if (with_tokenizer) config.data.tokenizer.path = "tokenizer.model";
  return config;
}

}  // namespace

std::uint64_t export_model(const ModelSource& source, ExportFormat format, const fs::path& folder) {
  const fs::path weights = folder / "model.safetensors";
  if (fs::exists(weights)) {
    fail_input("{} is there already: name another folder", weights.string());
  }
  std::string tokenizer_bytes;
  std::unique_ptr<Tokenizer> tokenizer;
  if (source.tokenizer) {
    tokenizer = open_tokenizer(source);
    if (source.tokenizer->path && source.tokenizer->name != TokenizerKind::bytes) {
      tokenizer_bytes = read_tokenizer_file(*source.tokenizer->path);
    }
  }
  Runtime runtime(Device::cpu);
  InferenceSize size;
  size.tokens = 1;
  InferenceModel model(source.model, size, runtime);
  model.load(source);

  FileSystem& files = FileSystem::real();
  files.make_folder(folder);
  if (format == ExportFormat::hugging_face) {
    write_hugging_face(model.context(), folder, model.transformer(), tokenizer.get());
  } else {
    const std::vector<CheckpointFile> contents =
        model_files(model.context(), model.transformer(), nullptr);
    write_safetensors(files, weights, contents.front().tensors);
    write_file_atomically(files, folder / "config.yaml",
                          dump_config(exported_config(source, !tokenizer_bytes.empty())));
  }
  if (!tokenizer_bytes.empty()) {
    write_file_atomically(files, folder / "tokenizer.model", tokenizer_bytes);
  }
  return fs::file_size(weights);
}

}  // namespace memengine
