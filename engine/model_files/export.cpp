// Loads a model into host memory and streams it out again in the form asked for: into a folder
// aside, whose files get their places once all are whole, the weights last.
#include "engine/model_files/export.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "engine/inference/inference_model.h"
#include "engine/model_files/hugging_face.h"
#include "engine/model_files/hugging_face_tokenizer.h"
#include "engine/model_files/model_files.h"
#include "engine/model_files/python/read_model.h"
#include "engine/run/run_data.h"
#include "io/checkpoints/checkpoint_state.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/output_folder.h"
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
  if (with_tokenizer) {
    config.data.tokenizer.path = tokenizer_file_name(tokenizer_name(config.data.tokenizer.name));
  }
  return config;
}

// The model section of a config, key by key: what a reader of the weights alone needs to know.
Metadata model_keys(const RunConfig& config) {
  Metadata keys;
  for (const auto& [key, value] : config_values(config)) {
    if (key.starts_with("model.")) keys[key] = value;
  }
  return keys;
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

// Of a file that is written already.
BlockChecksums checksums_of(const fs::path& path) {
  const std::string bytes = read_text_file(path, 1u << 30);
  const auto block = std::max<std::uint64_t>(bytes.size(), 1);
  BlockChecksums sums{bytes.size(), block, {}};
  if (!bytes.empty()) sums.blocks.push_back(block_checksum(std::as_bytes(std::span(bytes))));
  return sums;
}

constexpr std::string_view weights_name = "model.safetensors";

// Writes everything into `folder`, checksums too.
void write_export(const ModelSource& source, ExportFormat format, InferenceModel& model,
                  const Tokenizer* tokenizer, const std::vector<TokenizerFile>& carried,
                  const fs::path& folder) {
  FileSystem& files = FileSystem::real();
  StateFile record;
  BlockChecksums& sums = record.files[std::string(weights_name)];
  SafetensorsWriting writing;
  sums.block_bytes = writing.block_bytes;
  writing.on_block = [&sums](std::size_t number, std::span<const std::byte> block) {
    sums.blocks.resize(std::max(sums.blocks.size(), number + 1));
    sums.blocks[number] = block_checksum(block);
    sums.bytes += block.size();
  };
  const RunConfig config = exported_config(source, !carried.empty());
  if (format == ExportFormat::hugging_face) {
    write_hugging_face(model.context(), folder, model.transformer(), tokenizer, writing);
    if (tokenizer != nullptr) {
      const HuggingFaceTokenizer form =
          hugging_face_tokenizer(*tokenizer, carried.empty() ? "" : carried.front().bytes,
                                 source.add_bos, source.model.max_seqlen);
      if (form.json) write_file_atomically(files, folder / "tokenizer.json", *form.json);
      write_file_atomically(files, folder / "tokenizer_config.json", form.config);
    }
  } else {
    write_safetensors(files, folder / weights_name,
                      tensors_as_read(model.context(), model.transformer()), model_keys(config),
                      writing);
    write_file_atomically(files, folder / "config.yaml", dump_config(config));
    write_file_atomically(files, folder / python_reader_name, std::string(python_reader()));
  }
  for (const TokenizerFile& file : carried) {
    write_file_atomically(files, folder / file.name, file.bytes);
  }
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != weights_name) record.files[name] = checksums_of(entry.path());
  }
  write_file_atomically(files, folder / checksums_name, write_state(record));
}

}  // namespace

std::uint64_t export_model(const ModelSource& source, ExportFormat format, const fs::path& folder) {
  const OutputFolder out(folder, "exported model");
  const fs::path weights = folder / weights_name;
  if (is_there(weights)) {
    fail_input("{} is there already: name another folder", weights.string());
  }
  std::vector<TokenizerFile> carried;
  std::unique_ptr<Tokenizer> tokenizer;
  if (source.tokenizer) {
    tokenizer = open_tokenizer(source);
    if (source.tokenizer->path && source.tokenizer->name != TokenizerKind::bytes) {
      carried = tokenizer_files(tokenizer->name(), *source.tokenizer->path);
    }
  }
  Runtime runtime(Device::cpu);
  InferenceSize size;
  size.tokens = 1;
  InferenceModel model(source.model, size, runtime);
  model.load(source);

  FileSystem& files = FileSystem::real();
  const fs::path aside = folder / ".exporting";
  files.remove_all(aside);  // of an export that was killed
  files.make_folder(aside);
  try {
    write_export(source, format, model, tokenizer.get(), carried, aside);
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(aside)) {
      names.push_back(entry.path().filename().string());
    }
    // The weights last: without them nobody takes the folder for a model.
    std::stable_partition(names.begin(), names.end(),
                          [](const std::string& name) { return name != weights_name; });
    for (const std::string& name : names) files.rename(aside / name, folder / name);
    files.sync_folder(folder);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(aside, ignored);
    throw;
  }
  files.remove_all(aside);
  return fs::file_size(weights);
}

}  // namespace memengine
