// Loads a model, in passes as large as the memory allows: a lookup's picks cost little, and a GPU
// is only busy with many rows.
#include "engine/memory_probe/probe_model.h"

#include <algorithm>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::int64_t most_rows_cuda = 32768, most_rows_cpu = 2048;

InferenceSize probe_size(const ModelConfig& config, const ProbeOptions& options, Device device) {
  InferenceSize size;
  size.bf16 = !options.fp32;
  const std::int64_t text = config.max_seqlen;
  size.tokens = device == Device::cuda ? most_rows_cuda : most_rows_cpu;
  if (options.rows > 0) size.tokens = options.rows;
  size.tokens = std::max(size.tokens, text);
  if (options.generates) {
    size.cache_length = text;
    size.cache_sequences = fitting_sequences(config, size, device, 64);
  }
  const auto fits = [&] {
    return !plan_shortage(InferenceModel::plan(config, size, device), device);
  };
  while (size.tokens / 2 >= std::max(text, size.cache_sequences) && !fits()) size.tokens /= 2;
  return size;
}

}  // namespace

void check_memory(const ModelSource& source) {
  if (source.model.memory_layers().empty()) {
    fail_input("{}: the model has no memory layers to look into (productkey_args.is_enabled)",
               source.folder.string());
  }
}

std::string value_table_name(const ModelConfig& config, std::size_t memory) {
  const std::vector<std::int64_t> layers = config.memory_layers();
  const std::int64_t owner = config.productkey_args.mem_share_values ? layers[0] : layers[memory];
  return fmt::format("layers.{}.feed_forward.{}", owner,
                     config.productkey_args.peer_variant ? "values_v.weight" : "values.weight");
}

ProbeModel::ProbeModel(const ProbeOptions& options)
    : source_(find_model(options.model, options.tokenizer)),
      runtime_((check_memory(source_), choose_device(options.device))) {
  tokenizer_ = open_tokenizer(source_);
  layers_ = config().memory_layers();
  const InferenceSize size = probe_size(config(), options, runtime_.context().device);
  model_ = std::make_unique<InferenceModel>(config(), size, runtime_);
  model_->load(source_);
}

std::string ProbeModel::table_name(std::size_t memory) const {
  return value_table_name(config(), memory);
}

std::vector<std::int32_t> ProbeModel::encode(const std::string& text) const {
  return tokenizer_->encode(text, source_.add_bos && tokenizer_->bos_id() >= 0, false);
}

}  // namespace memengine
