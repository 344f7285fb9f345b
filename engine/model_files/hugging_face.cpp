// Names, row order and number formats of the two forms.
#include "engine/model_files/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
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
  ConfigFile file{path.string(), json::parse(read_text_file(path, 16 << 20), nullptr, false)};
  if (!file.content.is_object()) fail_input("{}: not a JSON object", file.path);
  return file;
}

void refuse_unsupported(const ConfigFile& config) {
  const auto refuse = [&](const std::string& what) {
    fail_input("{}: {} cannot be imported: only Llama and Mistral models without it can",
               config.path, what);
  };
  const std::string type = config.get<std::string>("model_type").value_or("llama");
  if (type != "llama" && type != "mistral") refuse("model_type '" + type + "'");
  const std::string activation = config.get<std::string>("hidden_act").value_or("silu");
  if (activation != "silu") refuse("hidden_act '" + activation + "'");
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (config.flag(key)) refuse(std::string(key) + "=true");
  }
  if (config.content.contains("quantization_config")) refuse("a quantization_config");
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json rope = config.content.value(key, json());
    if (!rope.is_object()) continue;
    const json kind = rope.value("rope_type", rope.value("type", json("default")));
    if (kind != "default") refuse(std::string(key) + " of type " + kind.dump());
  }
}

// One SwiGLU width says multiple_of = hidden; the multiplier keeps 8/3 dim from exceeding it.
void set_hidden(ModelConfig& model, std::int64_t hidden) {
  model.multiple_of = hidden;
  const std::int64_t usual = 8 * model.dim / 3;
  if (usual > hidden) {
    model.ffn_dim_multiplier = static_cast<double>(hidden) / static_cast<double>(usual);
  }
}

// --- Tensors -------------------------------------------------------------------------------------

// "layers.3.attention.wq.weight" -> "model.layers.3.self_attn.q_proj.weight"
std::string hugging_face_name(const std::string& name) {
  if (name == "tok_embeddings.weight") return "model.embed_tokens.weight";
  if (name == "output.weight") return "lm_head.weight";
  static const std::pair<const char*, const char*> parts[] = {
      {"attention.wq", "self_attn.q_proj"},    {"attention.wk", "self_attn.k_proj"},
      {"attention.wv", "self_attn.v_proj"},    {"attention.wo", "self_attn.o_proj"},
      {"feed_forward.w1", "mlp.gate_proj"},    {"feed_forward.w3", "mlp.up_proj"},
      {"feed_forward.w2", "mlp.down_proj"},    {"attention_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"}};
  std::string result = "model." + name;
  for (const auto& [ours, theirs] : parts) {
    const std::size_t at = result.find(ours);
    if (at != std::string::npos) return result.replace(at, std::strlen(ours), theirs);
  }
  return result;
}

bool is_rotated(const std::string& name) {
  return name.ends_with("attention.wq.weight") || name.ends_with("attention.wk.weight");
}

// Row of the half-split order that stands at `row` of the interleaved order, within whole heads.
std::int64_t half_split_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t within = row % head_dim;
  return row - within + within % 2 * (head_dim / 2) + within / 2;
}

float half_to_float(std::uint16_t half) {
  const int exponent = half >> 10 & 31;
  const auto mantissa = static_cast<float>(half & 1023);
  float value = 0;
  if (exponent == 31) {
    value = mantissa == 0 ? std::numeric_limits<float>::infinity()
                          : std::numeric_limits<float>::quiet_NaN();
  } else {
    value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  }
  return (half & 0x8000) != 0 ? -value : value;
}

// Elements [first, first + numbers.size()) of a tensor, as floats.
void read_numbers(const SafetensorsReader& reader, const TensorInfo& tensor, std::int64_t first,
                  std::span<float> numbers, std::vector<std::byte>& block) {
  const std::uint64_t width = file_dtype_bytes(tensor.dtype);
  const std::uint64_t offset = static_cast<std::uint64_t>(first) * width;
  if (tensor.dtype == FileDtype::f32) {
    reader.read(tensor.name, offset, std::as_writable_bytes(numbers));
    return;
  }
  block.resize(numbers.size() * width);
  reader.read(tensor.name, offset, block);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, block.data() + 2 * i, 2);
    numbers[i] = tensor.dtype == FileDtype::bf16 ? to_float(bfloat16{bits}) : half_to_float(bits);
  }
}

// Rows in a block of about 16 MiB: whole heads, so that rows change places within a block.
std::int64_t block_rows(std::int64_t columns, std::int64_t head_dim) {
  return std::max<std::int64_t>((4 << 20) / (columns * head_dim), 1) * head_dim;
}

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
  const json rope = config.content.value("rope_parameters", json());
  if (rope.is_object() && rope.contains("rope_theta") && rope["rope_theta"].is_number()) {
    model.rope_theta = rope["rope_theta"].get<double>();
  }
  model.weight_tying = config.flag("tie_word_embeddings");
  if (config.get<std::string>("model_type") == "mistral") {
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
  if (fs::exists(folder / "tokenizer.model")) {
    source.tokenizer = tokenizer_of_file((folder / "tokenizer.model").string());
  }
  if (fs::exists(folder / "tokenizer_config.json")) {
    source.add_bos =
        read_json(folder / "tokenizer_config.json").get<bool>("add_bos_token").value_or(true);
  }
  return source;
}

void load_hugging_face(const Context& context, const fs::path& folder, Transformer& transformer) {
  const SafetensorsReader reader(folder);
  const std::int64_t head_dim = transformer.config().head_size();
  std::set<std::string> known;
  std::vector<float> numbers, dealt;
  std::vector<std::byte> block;
  for (const NamedTensor& named : transformer.parameters().named()) {
    const std::string name = hugging_face_name(named.name);
    const TensorInfo* tensor = reader.find(name);
    check_tensor(folder.string(), name, tensor, named.value);
    known.insert(name);
    const std::int64_t rows = named.value.dim(0);
    const std::int64_t columns = named.value.size() / rows;
    const std::int64_t most = block_rows(columns, head_dim);
    for (std::int64_t first = 0; first < rows; first += most) {
      const std::int64_t count = std::min(most, rows - first);
      numbers.resize(static_cast<std::size_t>(count * columns));
      read_numbers(reader, *tensor, first * columns, numbers, block);
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
    fail_input("{}: tensor '{}' has no place in the model that config.json describes",
               folder.string(), tensor.name);
  }
  transformer.parameters().refresh_compute(context);
}

// --- Export --------------------------------------------------------------------------------------

void write_hugging_face(const Context& context, const fs::path& folder,
                        const Transformer& transformer, const Tokenizer* tokenizer) {
  const ModelConfig& model = transformer.config();
  if (!model.memory_layers().empty()) {
    fail_input(
        "a model with memory layers cannot be written in Hugging Face's form: use --format "
        "reference");
  }
  const std::int64_t head_dim = model.head_size();
  std::vector<TensorSource> tensors;
  for (const NamedTensor& named : transformer.parameters().named()) {
    TensorSource tensor;
    tensor.name = hugging_face_name(named.name);
    tensor.dtype = FileDtype::f32;
    for (int axis = 0; axis < named.value.rank(); ++axis) {
      tensor.shape.push_back(named.value.dim(axis));
    }
    // Blocks may begin inside a row, so a rotated matrix is dealt out whole at its first block.
    auto whole = std::make_shared<std::vector<std::byte>>();
    tensor.read = [&context, named, head_dim, whole](std::uint64_t offset,
                                                     std::span<std::byte> bytes) {
      const auto* data = static_cast<const std::byte*>(named.value.data());
      if (!is_rotated(named.name)) {
        copy_bytes(context, bytes.data(), data + offset, static_cast<std::int64_t>(bytes.size()));
        return;
      }
      if (whole->empty()) {
        std::vector<std::byte> ours(static_cast<std::size_t>(named.value.bytes()));
        copy_bytes(context, ours.data(), data, named.value.bytes());
        whole->resize(ours.size());
        const std::int64_t row_bytes = named.value.dim(1) * 4;
        for (std::int64_t row = 0; row < named.value.dim(0); ++row) {
          std::memcpy(whole->data() + half_split_row(row, head_dim) * row_bytes,
                      ours.data() + row * row_bytes, static_cast<std::size_t>(row_bytes));
        }
      }
      std::memcpy(bytes.data(), whole->data() + offset, bytes.size());
      if (offset + bytes.size() == whole->size()) whole->clear(), whole->shrink_to_fit();
    };
    tensors.push_back(std::move(tensor));
  }

  json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_act", "silu"},
                 {"hidden_size", model.dim},
                 {"intermediate_size", model.ffn_hidden()},
                 {"num_hidden_layers", model.n_layers},
                 {"num_attention_heads", model.heads()},
                 {"num_key_value_heads", model.kv_heads()},
                 {"head_dim", head_dim},
                 {"vocab_size", model.vocab_size},
                 {"max_position_embeddings", model.max_seqlen},
                 {"rms_norm_eps", model.norm_eps},
                 {"rope_theta", model.rope_theta},
                 {"tie_word_embeddings", model.weight_tying},
                 {"attention_bias", false},
                 {"mlp_bias", false},
                 {"torch_dtype", "float32"}};
  if (model.sliding_window) {
    config["architectures"] = {"MistralForCausalLM"};
    config["model_type"] = "mistral";
    config["sliding_window"] = *model.sliding_window;
  }
  if (tokenizer != nullptr && tokenizer->bos_id() >= 0)
    config["bos_token_id"] = tokenizer->bos_id();
  if (tokenizer != nullptr && tokenizer->eos_id() >= 0)
    config["eos_token_id"] = tokenizer->eos_id();

  FileSystem& files = FileSystem::real();
  files.make_folder(folder);
  write_safetensors(files, folder / "model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(files, folder / "config.json", config.dump(2) + "\n");
}

}  // namespace memengine
