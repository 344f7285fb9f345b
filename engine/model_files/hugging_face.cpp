// Import: what config.json means, which weights are read, and where they go.
#include "engine/model_files/hugging_face.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/model_files/hugging_face_tensors.h"
#include "engine/model_files/hugging_face_tokenizer.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/lfs_pointer.h"
#include "io/tokenizers/hugging_face/tokenizer_json.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// --- config.json ---------------------------------------------------------------------------------

struct ConfigFile {
  std::string path;
  json content;

  // The value of a key; null stands for absent.
  template <typename T>
  std::optional<T> get(const char* key) const {
    const auto found = content.find(key);
    if (found == content.end() || found->is_null()) return std::nullopt;
    const bool fits = std::is_same_v<T, bool>           ? found->is_boolean()
                      : std::is_same_v<T, std::string>  ? found->is_string()
                      : std::is_same_v<T, std::int64_t> ? found->is_number_integer()
                                                        : found->is_number();
    if (!fits) fail_input("{}: '{}' is of the wrong type", path, key);
    return found->get<T>();
  }
  std::int64_t size(const char* key) const {
    const auto value = get<std::int64_t>(key);
    if (!value) fail_input("{}: '{}' is missing", path, key);
    return *value;
  }
  bool flag(const char* key) const { return get<bool>(key).value_or(false); }
};

ConfigFile read_json(const fs::path& path) {
  const std::string text = read_text_file(path, 16 << 20);
  refuse_lfs_pointer(path.string(), text);
  ConfigFile file{path.string(), json::parse(text, nullptr, false)};
  if (!file.content.is_object()) fail_input("{}: not a JSON object", file.path);
  return file;
}

void refuse_unsupported(const ConfigFile& config) {
  const auto refuse = [&](const std::string& what) {
    fail_input(
        "{}: {} cannot be imported: only Llama, Mistral, Qwen2 and Qwen3 models without it can",
        config.path, what);
  };
  const std::string type = config.get<std::string>("model_type").value_or("llama");
  if (type != "llama" && type != "mistral" && type != "qwen2" && type != "qwen3") {
    refuse("model_type '" + type + "'");
  }
  const std::string activation = config.get<std::string>("hidden_act").value_or("silu");
  if (activation != "silu") refuse("hidden_act '" + activation + "'");
  for (const char* key : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    if (config.flag(key)) refuse(std::string(key) + "=true");
  }
  if (!config.content.value("quantization_config", json()).is_null()) {
    refuse("a quantization_config");
  }
  if (config.get<double>("partial_rotary_factor").value_or(1) != 1) refuse("partial_rotary_factor");
  const json kinds = config.content.value("layer_types", json::array());
  for (const json& kind : kinds.is_array() ? kinds : json::array({kinds})) {
    if (!kind.is_null() && kind != "full_attention") refuse("a layer of type " + kind.dump());
  }
}

// Of rope_scaling or rope_parameters: what is there must be understood, or another model would be
// computed than the one that was trained.
void refuse_unknown_rope(const ConfigFile& config, const char* key, const json& rope) {
  if (!rope.is_object()) fail_input("{}: {} is not a map", config.path, key);
  static const std::set<std::string> known = {"rope_type",
                                              "type",
                                              "rope_theta",
                                              "factor",
                                              "low_freq_factor",
                                              "high_freq_factor",
                                              "original_max_position_embeddings"};
  for (const auto& [name, value] : rope.items()) {
    const bool says_nothing = value.is_null() || (name == "partial_rotary_factor" && value == 1);
    if (!known.contains(name) && !says_nothing) {
      fail_input("{}: {}.{} cannot be imported: only {} can", config.path, key, name,
                 fmt::join(known, ", "));
    }
  }
  if (rope.contains("rope_theta") && !rope["rope_theta"].is_number()) {
    fail_input("{}: {}.rope_theta is no number", config.path, key);
  }
}

// rope_scaling, or rope_parameters of newer files; refuses the kinds that we do not compute.
RopeScaling rope_scaling_of(const ConfigFile& config) {
  RopeScaling scaling;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json rope = config.content.value(key, json());
    if (rope.is_null()) continue;
    refuse_unknown_rope(config, key, rope);
    json kind = rope.value("rope_type", json());
    if (kind.is_null()) kind = rope.value("type", json());
    if (kind.is_null()) kind = "default";
    const auto number = [&](const char* name) {
      const auto found = rope.find(name);
      if (found == rope.end() || !found->is_number()) {
        fail_input("{}: {} of type {} has no number '{}'", config.path, key, kind.dump(), name);
      }
      return found->get<double>();
    };
    if (kind == "default") continue;
    if (kind != "linear" && kind != "llama3") {
      fail_input("{}: {} of type {} cannot be imported: only linear and llama3 can", config.path,
                 key, kind.dump());
    }
    scaling.type = kind == "linear" ? RopeScalingType::linear : RopeScalingType::llama3;
    scaling.factor = number("factor");
    if (kind == "linear") continue;
    scaling.low_freq_factor = number("low_freq_factor");
    scaling.high_freq_factor = number("high_freq_factor");
    const double original = number("original_max_position_embeddings");
    if (!(original >= 1 && original <= 1e9)) {
      fail_input("{}: {}: original_max_position_embeddings is {}", config.path, key, original);
    }
    scaling.original_max_position_embeddings = static_cast<std::int64_t>(original);
  }
  return scaling;
}

// One SwiGLU width says multiple_of = hidden; the multiplier keeps 8/3 dim from exceeding it.
void set_hidden(ModelConfig& model, std::int64_t hidden) {
  model.multiple_of = hidden;
  const std::int64_t usual = 8 * model.dim / 3;
  if (usual > hidden) {
    model.ffn_dim_multiplier = static_cast<double>(hidden) / static_cast<double>(usual);
  }
}

// --- Tensors --------------------------------------------------------------------------------

void check_tensor(const std::string& where, const std::string& name, const TensorInfo* found,
                  const Tensor& value) {
  if (found == nullptr) {
    fail_input("{}: no tensor '{}': the weights do not match config.json", where, name);
  }
  std::vector<std::int64_t> shape;
  for (int axis = 0; axis < value.rank(); ++axis) shape.push_back(value.dim(axis));
  if (found->shape != shape) {
    fail_input("{}: tensor '{}' is [{}], config.json makes it [{}]", where, name,
               fmt::join(found->shape, ", "), fmt::join(shape, ", "));
  }
  if (found->dtype != FileDtype::f32 && found->dtype != FileDtype::bf16 &&
      found->dtype != FileDtype::f16) {
    fail_input("{}: tensor '{}' is {}; F32, F16 and BF16 can be imported", where, name,
               file_dtype_name(found->dtype));
  }
}

// Which files hold the weights, in what numbers, and whether the output matrix is the embedding.
void look_at_weights(ModelSource& source) {
  const fs::path& folder = source.folder;
  const bool single = is_there(folder / "model.safetensors");
  const bool index = is_there(folder / "model.safetensors.index.json");
  if (!single && !index) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if ((name.starts_with("pytorch_model") && name.ends_with(".bin")) || name.ends_with(".pth")) {
        fail_input(
            "{}: {} is in PyTorch's own format, which can run code and is not read: save it as "
            "safetensors (in Python: AutoModelForCausalLM.from_pretrained(FOLDER)"
            ".save_pretrained(OTHER))",
            folder.string(), name);
      }
    }
    return;  // whoever reads the weights says that there are none
  }
  if (single && index) {
    source.notices.push_back(
        fmt::format("{}: model.safetensors is read, not the shards of "
                    "model.safetensors.index.json beside it",
                    folder.string()));
  }
  const SafetensorsReader reader(folder);
  const TensorInfo* head = reader.find("lm_head.weight");
  const TensorInfo* embedding = reader.find("model.embed_tokens.weight");
  if (embedding && embedding->dtype != FileDtype::f32 && holds_numbers(*embedding)) {
    source.half_precision = file_dtype_name(embedding->dtype);
  }
  if (!source.model.weight_tying) return;
  if (!head || !embedding || !holds_numbers(*head) || !holds_numbers(*embedding)) return;
  if (same_numbers(reader, *head, *embedding)) return;
  source.model.weight_tying = false;
  source.notices.push_back(
      fmt::format("{}: lm_head.weight is used: it differs from the embedding, to which "
                  "tie_word_embeddings in config.json would tie it",
                  folder.string()));
}

// eos_token_id: a number, or a list of them; none when it is absent.
std::vector<std::int32_t> end_tokens_of(const ConfigFile& config) {
  const json value = config.content.value("eos_token_id", json());
  std::vector<std::int32_t> tokens;
  for (const json& token : value.is_array() ? value : json::array({value})) {
    if (token.is_null()) continue;
    if (!token.is_number_integer() || token.get<std::int64_t>() < 0 ||
        token.get<std::int64_t>() > std::numeric_limits<std::int32_t>::max()) {
      fail_input("{}: eos_token_id is neither a token's number nor a list of them", config.path);
    }
    tokens.push_back(token.get<std::int32_t>());
  }
  return tokens;
}

}  // namespace

// --- Import --------------------------------------------------------------------------------------

ModelSource find_hugging_face(const fs::path& folder) {
  const ConfigFile config = read_json(folder / "config.json");
  refuse_unsupported(config);
  ModelSource source;
  source.kind = ModelSource::Kind::hugging_face;
  source.folder = folder;
  ModelConfig& model = source.model;
  model.dim = config.size("hidden_size");
  model.n_layers = config.size("num_hidden_layers");
  model.n_heads = config.size("num_attention_heads");
  model.n_kv_heads = config.get<std::int64_t>("num_key_value_heads").value_or(*model.n_heads);
  model.head_dim = config.get<std::int64_t>("head_dim");
  model.vocab_size = config.size("vocab_size");
  model.max_seqlen = config.get<std::int64_t>("max_position_embeddings").value_or(2048);
  model.norm_eps = config.get<double>("rms_norm_eps").value_or(1e-6);
  model.rope_theta = config.get<double>("rope_theta").value_or(1e4);
  model.rope_scaling = rope_scaling_of(config);
  const json rope = config.content.value("rope_parameters", json::object());
  if (rope.is_object() && rope.contains("rope_theta")) model.rope_theta = rope["rope_theta"];
  const std::string type = config.get<std::string>("model_type").value_or("llama");
  model.qkv_bias = type == "qwen2";
  model.qk_norm = type == "qwen3";
  if (model.qk_norm && !model.head_dim) model.head_dim = 128;  // their library's default
  model.weight_tying = config.flag("tie_word_embeddings");
  if (type == "mistral") {
    model.sliding_window = config.get<std::int64_t>("sliding_window");
  }
  const std::int64_t hidden = config.size("intermediate_size");
  if (hidden < 1 || hidden > 1 << 20) {
    fail_input("{}: intermediate_size is {}", config.path, hidden);
  }
  if (model.dim < 1 || model.dim > 1 << 20) {
    fail_input("{}: hidden_size is {}", config.path, model.dim);
  }
  set_hidden(model, hidden);
  try {
    validate(model);
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    fail_input("{}: {}", config.path, error.what());
  }
  for (const fs::path& file : {folder / "original/tokenizer.model", folder / "tokenizer.model",
                               folder / tokenizer_json_name}) {
    if (is_there(file)) source.tokenizer = tokenizer_of_file(file.string());
  }
  if (is_there(folder / "tokenizer_config.json")) {
    const TokenizerSettings settings = read_tokenizer_settings(folder / "tokenizer_config.json");
    source.add_bos = settings.add_bos;
    source.space_in_front = settings.space;
    if (settings.is_bytes) source.tokenizer = tokenizer_of_file("bytes");
  }
  if (source.tokenizer && source.tokenizer->name == TokenizerKind::hf) {
    source.add_bos = tokenizer_json_adds_bos(*source.tokenizer->path);
  }
  if (is_there(folder / "generation_config.json")) {
    source.end_tokens = end_tokens_of(read_json(folder / "generation_config.json"));
  }
  if (source.end_tokens.empty()) source.end_tokens = end_tokens_of(config);
  look_at_weights(source);
  return source;
}

void load_hugging_face(const Context& context, const fs::path& folder, Transformer& transformer,
                       WeightsReport* report) {
  const SafetensorsReader reader(folder);
  const std::int64_t head_dim = transformer.config().head_size();
  std::set<std::string> known;
  std::vector<float> numbers, dealt;
  std::vector<std::byte> block;
  for (const NamedTensor& named : transformer.parameters().named()) {
    const std::string name = hugging_face_name(named.name);
    const TensorInfo* tensor = reader.find(name);
    if (!tensor && transformer.config().weight_tying && name == "model.embed_tokens.weight") {
      tensor = reader.find("lm_head.weight");  // one matrix, saved under its other name
    }
    if (tensor == nullptr && report != nullptr) {
      report->fresh.push_back(named.name);
      continue;
    }
    check_tensor(folder.string(), name, tensor, named.value);
    known.insert(name);
    if (report != nullptr) {
      report->taken.push_back(named.name);
      report->numbers += named.value.size();
    }
    const std::int64_t rows = named.value.dim(0);
    const std::int64_t columns = named.value.size() / rows;
    const std::int64_t most = block_rows(columns, head_dim);
    for (std::int64_t first = 0; first < rows; first += most) {
      const std::int64_t count = std::min(most, rows - first);
      numbers.resize(static_cast<std::size_t>(count * columns));
      read_numbers(reader, *tensor, first * columns, numbers, block);
      check_finite(folder.string(), *tensor, numbers);
      const float* from = numbers.data();
      if (is_rotated(named.name)) {
        dealt.resize(numbers.size());
        for (std::int64_t row = 0; row < count; ++row) {
          std::copy_n(numbers.data() + half_split_row(row, head_dim) * columns, columns,
                      dealt.data() + row * columns);
        }
        from = dealt.data();
      }
      const Tensor part = named.value.rows(first, count);
      if (part.dtype() == DType::f64) {
        std::copy_n(from, count * columns, part.as<double>());
      } else {
        copy_bytes(context, part.data(), from, part.bytes());
      }
    }
  }
  for (const TensorInfo& tensor : reader.tensors()) {
    const bool tied_head = transformer.config().weight_tying && tensor.name == "lm_head.weight";
    if (known.contains(tensor.name) || tied_head || tensor.name.ends_with("rotary_emb.inv_freq")) {
      continue;
    }
    if (report != nullptr) {
      report->left_over.push_back(tensor.name);
      continue;
    }
    fail_input("{}: tensor '{}' has no place in the model that config.json describes",
               folder.string(), tensor.name);
  }
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      if (report != nullptr) report->fresh.push_back(table.name());
    }
  }
  transformer.parameters().refresh_compute(context);
}

}  // namespace memengine
