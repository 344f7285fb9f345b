// The same construction twice, as for training: on planning arenas to count, on real ones to run.
#include "engine/inference/inference_model.h"

#include <algorithm>
#include <utility>

#include "engine/config/absent_gpu.h"
#include "engine/config/config.h"
#include "engine/model_files/hugging_face.h"
#include "engine/model_files/model_files.h"
#include "kernels/cross_entropy.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/runtime/runtime_cuda.h"

namespace memengine {
namespace {

// Of a recorded pass: tokens, sequences, positions, wanted rows, targets (-1).
constexpr std::int64_t step_arrays = 5;

ModelSize model_size(const InferenceSize& size, Device device) {
  ModelSize result;
  result.tokens = size.tokens;
  result.length = size.tokens;  // score() packs its documents into one row
  result.training = false;
  result.dtype = size.bf16 && device == Device::cuda ? DType::bf16 : DType::f32;
  if (size.fp64 && device == Device::cpu) result.dtype = DType::f64;
  result.cache_sequences = size.cache_sequences;
  result.cache_length = size.cache_length;
  return result;
}

}  // namespace

void ScoreRows::clear() {
  for (auto* part : {&tokens, &targets, &positions, &document_start, &hidden}) part->clear();
}

void DecodeRows::clear() {
  for (auto* part : {&tokens, &sequences, &positions, &wanted}) part->clear();
}

// Everything that is built from arenas.
struct InferenceModel::Parts {
  std::unique_ptr<Transformer> transformer;
  Buffers buffers;

  Parts(const ModelConfig& config, const InferenceSize& size, Device device, ModelMemory& memory) {
    const ModelSize shape = model_size(size, device);
    transformer = std::make_unique<Transformer>(config, shape, memory);
    const auto allocate = [&](DType dtype, std::int64_t count) {
      return memory.device.allocate("batches", dtype, {count});
    };
    for (Tensor* part :
         {&buffers.tokens, &buffers.targets, &buffers.positions, &buffers.document_start,
          &buffers.first_visible, &buffers.best, &buffers.sequences, &buffers.wanted}) {
      *part = allocate(DType::i32, size.tokens);
    }
    buffers.hidden = allocate(DType::i32, 2 * size.tokens);
    buffers.log_probabilities =
        allocate(shape.dtype == DType::f64 ? DType::f64 : DType::f32, size.tokens);
    if (size.cache_sequences > 0) {
      buffers.logits =
          memory.device.allocate("batches", shape.dtype, {size.cache_sequences, config.vocab_size});
      buffers.step = allocate(DType::i32, step_arrays * size.cache_sequences);
    }
  }
};

MemoryPlan InferenceModel::plan(const ModelConfig& config, const InferenceSize& size,
                                Device device) {
  check_device(config, device);
  ModelMemory memory;
  const Parts parts(config, size, device, memory);
  MemoryPlan plan;
  plan.device = memory.device.bytes_by_purpose();
  for (const auto& [purpose, bytes] : memory.temporary.bytes_by_purpose()) {
    plan.device[purpose] += bytes;
  }
  plan.device["scratch"] += can_be_asked(device) ? parts.transformer->scratch_bytes(device)
                                                 : estimated_pass_scratch_bytes(*parts.transformer);
  if (device == Device::cuda) plan.device["scratch"] += cuda::gemm_workspace_bytes;
  plan.host = memory.host.bytes_by_purpose();
  if (device == Device::cpu) add_process_bytes(plan, true);
  return plan;
}

namespace {

// What would make the model fit into what is free now.
std::string what_fits(const ModelConfig& config, InferenceSize size, Device device) {
  const auto fits = [&](Device where) {
    return !plan_shortage(InferenceModel::plan(config, size, where), where);
  };
  const bool on_cpu = device == Device::cuda && fits(Device::cpu);
  std::int64_t low = std::max<std::int64_t>(size.cache_sequences, 1) - 1;
  std::int64_t high = size.tokens;     // does not fit
  while (high - low > 1 + low / 64) {  // to a percent or two is near enough
    size.tokens = low + (high - low) / 2;
    (fits(device) ? low : high) = size.tokens;
  }
  std::string advice;
  size.tokens = low;
  if (low > 0 && size.ask_for_rows && fits(device)) advice = "set " + size.ask_for_rows(low);
  if (on_cpu) advice += advice.empty() ? "run it on the CPU" : ", or run it on the CPU";
  return advice.empty() ? "the model alone is too large for this machine" : advice;
}

}  // namespace

InferenceModel::InferenceModel(const ModelConfig& config, const InferenceSize& size,
                               Runtime& runtime)
    : runtime_(runtime), size_(size) {
  const Device device = runtime.context().device;
  if (size.cache_sequences > size.tokens) {
    fail_internal("{} sequences decode at once, but a pass has {} rows", size.cache_sequences,
                  size.tokens);
  }
  plan_ = plan(config, size, device);
  if (const auto shortage = plan_shortage(plan_, device)) {
    fail_input("{}: {}", *shortage, what_fits(config, size, device));
  }

  ModelMemory planned;
  const Parts counted(config, size, device, planned);
  memory_.device = Arena(device, planned.device.planned_bytes());
  memory_.temporary = Arena(device, planned.temporary.planned_bytes());
  if (planned.host.planned_bytes() > 0) {
    memory_.host =
        Arena(HostBlock(planned.host.planned_bytes(), device == Device::cuda, "the value table"));
  }
  Parts parts(config, size, device, memory_);
  transformer_ = std::move(parts.transformer);
  buffers_ = parts.buffers;
  if (device == Device::cuda && size.cache_sequences > 0) {
    const auto count = static_cast<std::size_t>((step_arrays + 1) * size.cache_sequences);
    inputs_ = {static_cast<std::int32_t*>(allocate_pinned(count * sizeof(std::int32_t))),
               free_pinned};
    chosen_ = inputs_.get() + step_arrays * size.cache_sequences;
  }
  runtime.reserve_scratch(transformer_->scratch_bytes(device));
  runtime.context().allow_tf32 = size.allow_tf32;
  runtime.context().sums_in_double = size.sums_in_double;
}

void InferenceModel::initialize(std::uint64_t seed) {
  transformer_->initialize(runtime_.context(), seed);
}

void InferenceModel::load(const ModelSource& source) {
  const Context& context = runtime_.context();
  if (source.kind == ModelSource::Kind::hugging_face) {
    load_hugging_face(context, source.folder, *transformer_);
  } else {
    load_weights(context, open_weights(source), *transformer_);
  }
  runtime_.synchronize();
}

Tensor InferenceModel::upload(const Tensor& buffer, const std::vector<std::int32_t>& numbers) {
  const auto count = static_cast<std::int64_t>(numbers.size());
  const Tensor part = buffer.rows(0, count);
  copy_bytes(runtime_.context(), part.data(), numbers.data(), part.bytes());
  return part;
}

// Everything of a pass but its targets.
TokenBatch InferenceModel::upload(const ScoreRows& rows) {
  const Context& context = runtime_.context();
  const std::int64_t count = rows.size();
  TokenBatch batch;
  batch.tokens = upload(buffers_.tokens, rows.tokens);
  batch.layout.positions = upload(buffers_.positions, rows.positions);
  batch.layout.first_visible = buffers_.first_visible.rows(0, count).reshape({1, count});
  visible_range(context, batch.layout.first_visible,
                upload(buffers_.document_start, rows.document_start).reshape({1, count}),
                config().sliding_window.value_or(0));
  if (!rows.hidden.empty()) {
    if (config().sliding_window) fail_internal("score: rows share contexts under a sliding window");
    batch.layout.hidden = upload(buffers_.hidden, rows.hidden).reshape({1, count, 2});
  }
  return batch;
}

void InferenceModel::look_up(const ScoreRows& rows, const PassHooks& hooks) {
  transformer_->look_up(runtime_.context(), upload(rows), hooks);
}

void InferenceModel::score(const ScoreRows& rows, std::vector<double>& log_probabilities,
                           std::vector<std::int32_t>& best) {
  const Context& context = runtime_.context();
  wanted_.clear();
  wanted_targets_.clear();
  for (std::size_t i = 0; i < rows.targets.size(); ++i) {
    if (rows.targets[i] < 0) continue;
    wanted_.push_back(static_cast<std::int32_t>(i));
    wanted_targets_.push_back(rows.targets[i]);
  }
  if (wanted_.empty()) fail_internal("score: no row of the pass has a target");
  TokenBatch batch = upload(rows);
  batch.targets = upload(buffers_.targets, wanted_targets_);
  const auto asked = static_cast<std::int64_t>(wanted_.size());
  const Tensor scores = buffers_.log_probabilities.rows(0, asked);
  const Tensor choices = buffers_.best.rows(0, asked);
  transformer_->score(context, batch, scores, choices, upload(buffers_.wanted, wanted_));
  best.resize(wanted_.size());
  copy_bytes(context, best.data(), choices.data(), choices.bytes());
  download(log_probabilities, scores);
}

// On a GPU the beginnings of prompts, if they stand last, attend to each other as in training:
// tiles of the tensor cores instead of a walk over the cache for each row. The CPU walks: there a
// text's numbers do not depend on how its prompt was cut into passes.
CacheLayout InferenceModel::cache_layout(const DecodeRows& rows) {
  CacheLayout layout;
  layout.sequences = upload(buffers_.sequences, rows.sequences);
  layout.positions = upload(buffers_.positions, rows.positions);
  if (!runtime_.context().on_cuda()) return layout;
  std::size_t first = rows.positions.size();  // of the beginnings
  std::vector<std::int32_t> starts;  // for each row from the last on, where its text begins
  for (std::size_t end = first; end > 0;) {
    std::size_t start = end - 1;
    while (start > 0 && rows.sequences[start - 1] == rows.sequences[start]) --start;
    if (rows.positions[start] != 0) break;
    starts.insert(starts.end(), end - start, static_cast<std::int32_t>(start));
    first = end = start;
  }
  const auto count = static_cast<std::int64_t>(starts.size());
  if (count == 0) return layout;
  std::ranges::reverse(starts);
  for (std::int32_t& start : starts) start -= static_cast<std::int32_t>(first);
  layout.first_visible = buffers_.first_visible.rows(0, count).reshape({1, count});
  visible_range(runtime_.context(), layout.first_visible,
                upload(buffers_.document_start, starts).reshape({1, count}),
                config().sliding_window.value_or(0));
  return layout;
}

Tensor InferenceModel::decode_logits(const DecodeRows& rows) {
  const Context& context = runtime_.context();
  const auto wanted = static_cast<std::int64_t>(rows.wanted.size());
  if (wanted < 1 || wanted > size_.cache_sequences) {
    fail_internal("decode: logits of {} rows asked for, 1 to {} are possible", wanted,
                  size_.cache_sequences);
  }
  const CacheLayout layout = cache_layout(rows);
  const Tensor out = buffers_.logits.rows(0, wanted);
  transformer_->decode(context, out, upload(buffers_.tokens, rows.tokens), layout,
                       upload(buffers_.wanted, rows.wanted));
  return out;
}

void InferenceModel::decode(const DecodeRows& rows, std::vector<float>& logits) {
  download(logits, only_continues(rows) ? replay(rows, false) : decode_logits(rows));
}

void InferenceModel::decode_greedy(const DecodeRows& rows, std::vector<std::int32_t>& best) {
  if (only_continues(rows)) {
    replay(rows, true);
    runtime_.synchronize();
    best.assign(chosen_, chosen_ + rows.size());
    return;
  }
  const Tensor logits = decode_logits(rows);
  const std::int64_t wanted = logits.dim(0);
  best.assign(static_cast<std::size_t>(wanted), -1);  // no targets: only the choice is asked for
  const Tensor choices = buffers_.best.rows(0, wanted);
  choose(choices, logits, upload(buffers_.targets, best));
  copy_bytes(runtime_.context(), best.data(), choices.data(), choices.bytes());
  runtime_.synchronize();
}

void InferenceModel::choose(const Tensor& best, const Tensor& logits, const Tensor& targets) {
  token_scores(runtime_.context(), buffers_.log_probabilities.rows(0, logits.dim(0)), best, logits,
               targets);
}

bool InferenceModel::only_continues(const DecodeRows& rows) const {
  if (inputs_ == nullptr || rows.size() != static_cast<std::int64_t>(rows.wanted.size()) ||
      rows.size() > size_.cache_sequences) {
    return false;
  }
  for (std::size_t i = 0; i < rows.wanted.size(); ++i) {
    if (rows.wanted[i] != static_cast<std::int32_t>(i)) return false;
  }
  return true;
}

Tensor InferenceModel::replay(const DecodeRows& rows, bool greedy) {
  const Context& context = runtime_.context();
  const std::int64_t count = rows.size();
  const auto array = [&](std::int64_t number) { return buffers_.step.rows(number * count, count); };
  std::int32_t* input = inputs_.get();
  for (const auto* numbers : {&rows.tokens, &rows.sequences, &rows.positions, &rows.wanted}) {
    input = std::copy(numbers->begin(), numbers->end(), input);
  }
  std::fill_n(input, count, -1);
  const Tensor logits = buffers_.logits.rows(0, count);
  const Tensor choices = buffers_.best.rows(0, count);
  recorded_[{count, greedy}].run(context, true, [&] {
    copy_bytes(context, buffers_.step.data(), inputs_.get(),
               step_arrays * count * static_cast<std::int64_t>(sizeof(std::int32_t)));
    transformer_->decode(context, logits, array(0), {array(1), array(2), {}}, array(3));
    if (!greedy) return;
    choose(choices, logits, array(4));
    copy_bytes(context, chosen_, choices.data(), choices.bytes());
  });
  return logits;
}

template <typename Number>
void InferenceModel::download(std::vector<Number>& numbers, const Tensor& x) {
  const auto count = static_cast<std::size_t>(x.size());
  downloaded_.resize(static_cast<std::size_t>(x.bytes()));
  numbers.resize(count);
  copy_bytes(runtime_.context(), downloaded_.data(), x.data(), x.bytes());
  runtime_.synchronize();
  const auto convert = [&](const auto* from) {
    std::transform(from, from + count, numbers.begin(),
                   [](auto number) { return static_cast<Number>(number); });
  };
  if (x.dtype() == DType::bf16) {
    const auto* halves = reinterpret_cast<const bfloat16*>(downloaded_.data());
    std::transform(halves, halves + count, numbers.begin(), [](bfloat16 h) { return to_float(h); });
  } else if (x.dtype() == DType::f64) {
    convert(reinterpret_cast<const double*>(downloaded_.data()));
  } else {
    convert(reinterpret_cast<const float*>(downloaded_.data()));
  }
}

std::int64_t decoding_bytes(const ModelConfig& config, const InferenceSize& size, Device device) {
  return element_bytes(model_size(size, device).dtype) *
         (2 * config.n_layers * size.cache_length * config.kv_heads() * config.head_size() +
          config.vocab_size);
}

std::int64_t fitting_sequences(const ModelConfig& config, const InferenceSize& size, Device device,
                               std::int64_t most) {
  if (device == Device::cuda && choose_device("auto") != Device::cuda) return most;
  const std::int64_t fitting = free_memory_bytes(device) / 4 / decoding_bytes(config, size, device);
  return std::clamp<std::int64_t>(fitting, 1, most);
}

}  // namespace memengine
