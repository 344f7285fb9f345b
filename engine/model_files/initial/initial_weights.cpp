// Takes, compares, and puts into words.
#include "engine/model_files/initial/initial_weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/model_files/hugging_face.h"
#include "engine/model_files/model_files.h"
#include "engine/model_files/weight_reader.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

constexpr const char* key = "checkpoint.init_ckpt_path";

std::string words_for(const ModelSource& source) {
  switch (source.kind) {
    case ModelSource::Kind::hugging_face:
      return "a Hugging Face model";
    case ModelSource::Kind::exported:
      return "an exported model";
    case ModelSource::Kind::checkpoint:
      break;
  }
  return fmt::format("the checkpoint of step {} of run {}", source.step, source.run->name);
}

// "layers.4.feed_forward (9), norm.weight": tensors by the part of the model that they are of.
std::string parts_text(const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, int>> parts;
  for (const std::string& name : names) {
    std::size_t end = name.npos;
    for (int dots = 0; name.starts_with("layers.") || name.starts_with("model.layers.");) {
      const int most = name.starts_with("model.") ? 4 : 3;
      end = name.find('.', end == name.npos ? 0 : end + 1);
      if (end == name.npos || ++dots == most) break;
    }
    const std::string part = name.substr(0, end);
    if (parts.empty() || parts.back().first != part) parts.emplace_back(part, 0);
    ++parts.back().second;
  }
  constexpr std::size_t most_parts = 6;
  std::vector<std::string> words;
  for (const auto& [part, count] : parts) {
    if (words.size() == most_parts) {
      words.push_back(fmt::format("and {} other parts", parts.size() - most_parts));
      break;
    }
    words.push_back(count == 1 ? part : fmt::format("{} ({} tensors)", part, count));
  }
  return fmt::format("{}", fmt::join(words, ", "));
}

// Keys that no tensor's shape shows, where the given model has another value.
std::vector<std::string> differences(const ModelConfig& ours, const ModelConfig& theirs) {
  std::vector<std::string> words;
  const auto compare = [&](const char* name, const auto& a, const auto& b) {
    if (a != b) words.push_back(fmt::format("model.{} is {} here and {} there", name, a, b));
  };
  const auto scaling = [](const RopeScaling& s) {
    if (s.type == RopeScalingType::none) return std::string("none");
    if (s.type == RopeScalingType::linear) return fmt::format("linear by {}", s.factor);
    return fmt::format("llama3 by {} ({}, {}, {})", s.factor, s.low_freq_factor, s.high_freq_factor,
                       s.original_max_position_embeddings);
  };
  compare("n_layers", ours.n_layers, theirs.n_layers);
  compare("n_heads", ours.heads(), theirs.heads());
  compare("norm_eps", ours.norm_eps, theirs.norm_eps);
  compare("rope_theta", ours.rope_theta, theirs.rope_theta);
  compare("rope_scaling", scaling(ours.rope_scaling), scaling(theirs.rope_scaling));
  compare("sliding_window", ours.sliding_window.value_or(0), theirs.sliding_window.value_or(0));
  compare("qkv_bias", ours.qkv_bias, theirs.qkv_bias);
  compare("qk_norm", ours.qk_norm, theirs.qk_norm);
  compare("weight_tying", ours.weight_tying, theirs.weight_tying);
  return words;
}

// Input error where tensors of one name would have two shapes, with the keys that make it the given
// model's size.
void check_sizes(const ModelConfig& ours, const ModelConfig& theirs, const std::string& where) {
  std::vector<std::string> words, keys;
  const auto compare = [&](const char* name, std::int64_t here, std::int64_t there) {
    if (here == there) return;
    words.push_back(fmt::format("{} is {} there and {} here", name, there, here));
    keys.push_back(fmt::format("model.{}={}", name, there));
  };
  compare("dim", ours.dim, theirs.dim);
  if (ours.vocab_size > 0) compare("vocab_size", ours.vocab_size, theirs.vocab_size);
  const bool other_heads = ours.heads() * ours.head_size() != theirs.heads() * theirs.head_size();
  const bool other_kv_heads =
      ours.kv_heads() * ours.head_size() != theirs.kv_heads() * theirs.head_size();
  if (other_heads || other_kv_heads) {
    compare("n_heads", ours.heads(), theirs.heads());
    compare("n_kv_heads", ours.kv_heads(), theirs.kv_heads());
    compare("head_dim", ours.head_size(), theirs.head_size());
  }
  const std::vector<std::int64_t> memory_here = ours.memory_layers();
  const std::vector<std::int64_t> memory_there = theirs.memory_layers();
  const auto has_dense = [](const ModelConfig& model, const std::vector<std::int64_t>& memory) {
    return model.productkey_args.placement == MemoryPlacement::beside ||
           static_cast<std::int64_t>(memory.size()) < model.n_layers;
  };
  if (ours.ffn_hidden() != theirs.ffn_hidden() && has_dense(ours, memory_here) &&
      has_dense(theirs, memory_there)) {
    words.push_back(fmt::format("the feed-forward is {} wide there and {} here",
                                theirs.ffn_hidden(), ours.ffn_hidden()));
    keys.push_back(fmt::format("model.multiple_of={}", theirs.multiple_of));
    if (ours.ffn_dim_multiplier != theirs.ffn_dim_multiplier) {
      keys.push_back(theirs.ffn_dim_multiplier
                         ? fmt::format("model.ffn_dim_multiplier={}", *theirs.ffn_dim_multiplier)
                         : "model.ffn_dim_multiplier=null");
    }
  }
  const bool both_have = std::any_of(memory_here.begin(), memory_here.end(), [&](auto layer) {
    return std::binary_search(memory_there.begin(), memory_there.end(), layer);
  });
  if (both_have) {
    const ProductKeyConfig &here = ours.productkey_args, &there = theirs.productkey_args;
    compare("productkey_args.mem_n_keys", here.mem_n_keys, there.mem_n_keys);
    compare("productkey_args.mem_heads", here.mem_heads, there.mem_heads);
    compare("productkey_args.mem_k_dim", here.mem_k_dim, there.mem_k_dim);
    if (ours.value_dim() != theirs.value_dim()) {
      compare("productkey_args.mem_v_dim", here.mem_v_dim, there.mem_v_dim);
    }
  }
  if (words.empty()) return;
  fail_input("{}: {} holds a model of another size: {}; set {}", key, where, fmt::join(words, ", "),
             fmt::join(keys, " "));
}

bool is_zero(const Context& context, const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes()));
  copy_bytes(context, bytes.data(), tensor.data(), tensor.bytes());
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::int64_t layer_of(const MemoryLayer& memory) {
  return std::stoll(memory.name().substr(std::string("layers.").size()));
}

// Silences the memory layers that are new, and says which.
std::vector<std::int64_t> silence_new(const Context& context, const RunConfig& config,
                                      const std::set<std::string>& fresh, const std::string& where,
                                      const Transformer& transformer) {
  std::vector<std::int64_t> silent;
  if (config.model.productkey_args.placement != MemoryPlacement::beside) return silent;
  for (const MemoryLayer* memory : transformer.memories()) {
    if (!fresh.contains(memory->name())) continue;
    const std::string& table = memory->bank().values().name();
    if (memory->output_projection().empty() && !fresh.contains(table)) {
      fail_input(
          "{}: {}: layer {} is new and reads {}, which is not, without an output projection: it "
          "cannot begin without changing the model; set "
          "model.productkey_args.swilu_projection=true or mem_share_values=false",
          key, where, layer_of(*memory), table);
    }
    memory->start_silent(context, static_cast<std::uint64_t>(config.seed));
    silent.push_back(layer_of(*memory));
  }
  return silent;
}

void check_values_learn(const Context& context, const Transformer& transformer) {
  for (const MemoryLayer* memory : transformer.memories()) {
    const Tensor projection = memory->output_projection();
    if (projection.empty() || !is_zero(context, projection)) continue;
    fail_input(
        "optim.train=values: the output projection of the memory in layer {} is zero, so its "
        "values "
        "would have no gradient and never learn: train with optim.train=memory first",
        layer_of(*memory));
  }
}

}  // namespace

std::vector<std::string> load_initial_weights(const Context& context, const RunConfig& config,
                                              const ModelSource& source, Transformer& transformer) {
  const std::string where = source.folder.string();
  check_sizes(config.model, source.model, where);
  WeightsReport report;
  if (source.kind == ModelSource::Kind::hugging_face) {
    load_hugging_face(context, source.folder, transformer, &report);
  } else {
    load_weights(context, open_weights(source), transformer, &report);
  }
  if (report.taken.empty()) {
    fail_input("{}: {}: none of its tensors has a place in this model", key, where);
  }
  const std::set<std::string> fresh(report.fresh.begin(), report.fresh.end());
  if (fresh.contains("output.weight") && !fresh.contains("tok_embeddings.weight")) {
    fail_input(
        "{}: {} has no output matrix, because its output is tied to its embedding: set "
        "model.weight_tying=true",
        key, where);
  }
  const std::vector<std::int64_t> silent = silence_new(context, config, fresh, where, transformer);
  if (config.train == TrainedPart::values) check_values_learn(context, transformer);
  transformer.parameters().refresh_compute(context);

  const bool all = report.fresh.empty() && report.left_over.empty();
  std::string text = fmt::format("{} from {} in {}: {} tensors of {} numbers",
                                 all ? "all weights are" : "weights are", words_for(source), where,
                                 report.taken.size(), report.numbers);
  if (!report.fresh.empty()) text += "; new: " + parts_text(report.fresh);
  if (!silent.empty()) {
    text += fmt::format(
        "; the memory of {} {} begins with an output of zero, so that the model computes what it "
        "did",
        silent.size() == 1 ? "layer" : "layers", fmt::join(silent, ", "));
  }
  if (!report.left_over.empty()) text += "; left over: " + parts_text(report.left_over);
  text += "; the optimizer's moments, the schedule and the place in the data start afresh";
  std::vector<std::string> notices = {text};
  const std::vector<std::string> other = differences(config.model, source.model);
  if (!other.empty()) {
    notices.push_back(fmt::format("{}: the model is not what it was in {}: {}", key, where,
                                  fmt::join(other, "; ")));
  }
  return notices;
}

}  // namespace memengine
