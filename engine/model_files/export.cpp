// Loads a model into host memory and streams it out again in the form asked for.
#include "engine/model_files/export.h"

#include <cstring>
#include <set>

#include "engine/inference/inference_model.h"
#include "engine/model_files/hugging_face.h"
#include "engine/model_files/hugging_face_tokenizer.h"
#include "engine/model_files/model_files.h"
#include "engine/run/run_data.h"
#include "io/files/file.h"
#include "kernels/runtime/bfloat16.h"
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

// Values in a table of BF16 rows as the forward pass reads them: rounded. The masters stay in
// checkpoints.
CheckpointTensor as_read(CheckpointTensor tensor) {
  const auto masters = tensor.read;
  tensor.read = [masters](std::uint64_t offset, std::span<std::byte> bytes) {
    const std::uint64_t begin = offset / 4 * 4;
    std::vector<std::byte> whole((offset - begin + bytes.size() + 3) / 4 * 4);
    masters(begin, whole);
    for (std::size_t at = 0; at < whole.size(); at += 4) {
      float value = 0;
      std::memcpy(&value, whole.data() + at, 4);
      value = join_float(split_float(value).hi, 0);
      std::memcpy(whole.data() + at, &value, 4);
    }
    std::memcpy(bytes.data(), whole.data() + (offset - begin), bytes.size());
  };
  return tensor;
}

std::vector<CheckpointTensor> tensors_as_read(const Context& context,
                                              const Transformer& transformer) {
  std::set<std::string> rounded;
  if (transformer.config().productkey_args.mem_value_dtype == ValueDtype::bf16) {
    for (const MemoryBank& bank : transformer.banks()) {
      for (const ValueTable& table : bank.tables()) rounded.insert(table.name());
    }
  }
  std::vector<CheckpointTensor> tensors =
      std::move(model_files(context, transformer, nullptr).front().tensors);
  for (CheckpointTensor& tensor : tensors) {
    if (rounded.contains(tensor.name)) tensor = as_read(tensor);
  }
  return tensors;
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
    if (tokenizer) {
      const HuggingFaceTokenizer form = hugging_face_tokenizer(
          *tokenizer, tokenizer_bytes, source.add_bos, source.model.max_seqlen);
      if (form.json) write_file_atomically(files, folder / "tokenizer.json", *form.json);
      write_file_atomically(files, folder / "tokenizer_config.json", form.config);
    }
  } else {
    write_safetensors(files, weights, tensors_as_read(model.context(), model.transformer()));
    write_file_atomically(files, folder / "config.yaml",
                          dump_config(exported_config(source, !tokenizer_bytes.empty())));
  }
  if (!tokenizer_bytes.empty()) {
    write_file_atomically(files, folder / "tokenizer.model", tokenizer_bytes);
  }
  return fs::file_size(weights);
}

}  // namespace memengine
