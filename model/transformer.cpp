// One step of the model as a data flow, top to bottom: build, forward, backward.
#include "model/transformer.h"

#include <algorithm>
#include <cmath>

#include "kernels/embedding.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/runtime/runtime.h"
#include "model/initial_std.h"

namespace memengine {

// --- Forward -------------------------------------------------------------------------------------

void Transformer::run_blocks(const Context& context, std::span<Block> blocks, Tensor tokens,
                             const TokenLayout& layout, std::int64_t sequences, Mode mode,
                             std::int64_t micro_batch, const CacheLayout* cache,
                             const PassHooks& hooks) {
  const std::int64_t rows = tokens.size();
  const Tensor branch = branch_.rows(0, rows);

  const auto computed = [&](const std::string& name, const Tensor& x) {
    if (hooks.computed) hooks.computed(name, x);
  };

  // The addition of a branch to the residual state is fused into the norm that follows it.
  Tensor residual = blocks.front().input.rows(0, rows);
  embedding_forward(context, residual, tokens, embedding_->compute);
  Tensor pending;  // branch that is not yet added to the residual state
  std::string writer = "tok_embeddings";
  for (Block& block : blocks) {
    const std::string layer = "layers." + std::to_string(&block - blocks.data());
    const Tensor input = block.input.rows(0, rows);
    const Tensor attention_input = block.attention_input.rows(0, rows);
    rms_norm_forward(context, attention_input, pending.empty() ? Tensor() : input,
                     block.attention_inverse_rms.rows(0, rows), residual, pending,
                     block.attention_norm.value, config_.norm_eps);
    computed("residual." + writer, input);
    if (cache != nullptr) {
      block.attention.forward_cached(context, branch, attention_input, *cache);
    } else {
      block.attention.forward(context, branch, attention_input, layout, sequences);
    }
    writer = layer + ".attention";
    computed(writer + ".out", branch);
    const Tensor middle = block.middle.rows(0, rows);
    const Tensor ffn_input = block.ffn_input.rows(0, rows);
    rms_norm_forward(context, ffn_input, middle, block.ffn_inverse_rms.rows(0, rows), input, branch,
                     block.ffn_norm.value, config_.norm_eps);
    computed("residual." + writer, middle);
    block.feed_forward->forward(context, branch, ffn_input, mode, micro_batch);
    writer = layer + ".feed_forward";
    computed(writer + ".out", branch);
    if (hooks.looked_up && block.memory != nullptr) {
      hooks.looked_up(writer, block.memory->last_lookup(micro_batch, rows));
    }
    if (hooks.picked && block.memory != nullptr && block.memory->reads_last()) {
      hooks.picked(block.memory->bank());
    }
    residual = middle;
    pending = branch;
  }
  rms_norm_forward(context, normed_.rows(0, rows), last_.rows(0, rows),
                   last_inverse_rms_.rows(0, rows), residual, pending, norm_->value,
                   config_.norm_eps);
  computed("residual." + writer, last_.rows(0, rows));
}

void Transformer::forward(const Context& context, const TokenBatch& batch, std::int64_t micro_batch,
                          double gradient_scale, const PassHooks& hooks) {
  const std::int64_t rows = batch.tokens.size();
  run_blocks(context, blocks_, batch.tokens, batch.layout, batch.sequences, Mode::train,
             micro_batch, nullptr, hooks);
  head_->forward_backward(context, losses_.rows(0, rows), dnormed_.rows(0, rows),
                          normed_.rows(0, rows), batch.targets, gradient_scale);
}

const Transformer::Block* Transformer::first_memory() const {
  const auto found = std::find_if(blocks_.begin(), blocks_.end(),
                                  [](const Block& block) { return block.memory != nullptr; });
  return found == blocks_.end() ? nullptr : &*found;
}

// --- Backward ------------------------------------------------------------------------------------

void Transformer::backward(const Context& context, const TokenBatch& batch,
                           std::int64_t micro_batch, const PassHooks& hooks) {
  const std::int64_t rows = batch.tokens.size();
  const Tensor dnormed = dnormed_.rows(0, rows);
  const Tensor dresidual = dresidual_.rows(0, rows);

  // Turns the gradient of a layer's input into the gradient of the residual state, which also flows
  // past the layer.
  const auto through_norm = [&](const Tensor& state, const Tensor& inverse_rms, Parameter& weight) {
    rms_norm_backward(context, dresidual, weight.gradient, dnormed, dresidual, state, inverse_rms,
                      weight.value);
  };

  rms_norm_backward(context, dresidual, norm_->gradient, dnormed, {}, last_.rows(0, rows),
                    last_inverse_rms_.rows(0, rows), norm_->value);
  const auto whole_after = [&](std::size_t declared) {
    if (hooks.gradients_whole) hooks.gradients_whole(parameters_.begin_after(declared));
  };
  whole_after(declared_in_blocks_);
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    const Tensor middle = block->middle.rows(0, rows);
    const Tensor ffn_inverse_rms = block->ffn_inverse_rms.rows(0, rows);
    const bool lowest = &*block == lowest_trained();
    block->feed_forward->backward(context, lowest ? Tensor() : dnormed, dresidual,
                                  block->ffn_input.rows(0, rows), micro_batch);
    if (hooks.rows_done && &*block == first_memory()) hooks.rows_done();
    if (lowest) return;
    through_norm(middle, ffn_inverse_rms, block->ffn_norm);

    const Tensor input = block->input.rows(0, rows);
    const Tensor attention_inverse_rms = block->attention_inverse_rms.rows(0, rows);
    block->attention.backward(context, dnormed, dresidual, block->attention_input.rows(0, rows),
                              batch.layout, batch.sequences);
    through_norm(input, attention_inverse_rms, block->attention_norm);
    whole_after(block->declared);
  }
  embedding_backward(context, embedding_->gradient, dresidual, batch.tokens);
}

// --- Evaluation and decoding ---------------------------------------------------------------------

void Transformer::score(const Context& context, const TokenBatch& batch, Tensor log_probabilities,
                        Tensor best, Tensor wanted) {
  run_blocks(context, blocks_, batch.tokens, batch.layout, batch.sequences, Mode::evaluate, 0,
             nullptr);
  Tensor rows = normed_.rows(0, batch.tokens.size());
  if (!wanted.empty()) rows = pick_rows(context, rows, wanted);
  head_->score(context, log_probabilities, best, rows, batch.targets);
}

void Transformer::look_up(const Context& context, const TokenBatch& batch, const PassHooks& hooks) {
  std::size_t count = blocks_.size();
  while (count > 0 && blocks_[count - 1].memory == nullptr) --count;
  if (count == 0) return;
  run_blocks(context, std::span(blocks_).first(count), batch.tokens, batch.layout, batch.sequences,
             Mode::evaluate, 0, nullptr, hooks);
}

void Transformer::silence(std::int64_t layer, const Silence& silence) {
  const bool there = layer >= 0 && layer < config_.n_layers;
  if (!there || blocks_[static_cast<std::size_t>(layer)].memory == nullptr) {
    fail_input("layer {} holds no memory: those that do are {}", layer,
               fmt::join(config_.memory_layers(), ", "));
  }
  blocks_[static_cast<std::size_t>(layer)].memory->silence(silence);
}

// Picking rows of a matrix is what the embedding does.
Tensor Transformer::pick_rows(const Context& context, const Tensor& rows, const Tensor& wanted) {
  const Tensor picked = branch_.rows(0, wanted.size());
  embedding_forward(context, picked, wanted, rows);
  return picked;
}

void Transformer::decode(const Context& context, Tensor logits, Tensor tokens,
                         const CacheLayout& layout, Tensor wanted) {
  run_blocks(context, blocks_, tokens, {}, 1, Mode::evaluate, 0, &layout);
  head_->logits(context, logits, pick_rows(context, normed_.rows(0, tokens.size()), wanted));
}

// --- Construction --------------------------------------------------------------------------------

Transformer::Transformer(const ModelConfig& config, const ModelSize& size, ModelMemory& memory)
    : config_(config), size_(size) {
  build_layers();
  parameters_.place(memory.device, size_.dtype, size_.training);
  build_banks(memory);
  plan(memory);
}

void Transformer::build_layers() {
  parameters_.freeze(size_.trained != TrainedPart::all);
  const double embedding_std = initial_std(config_, config_.dim);
  std::vector<ParameterSlice> embedding = {
      {"tok_embeddings.weight", config_.vocab_size, Initializer::truncated_normal(embedding_std)}};
  // Tied to the head, whose products come first in a step.
  embedding_ = config_.weight_tying
                   ? &parameters_.declare_product(std::move(embedding), config_.dim)
                   : &parameters_.declare(std::move(embedding), config_.dim);
  const auto declare_norm = [&](const std::string& name) -> Parameter& {
    return parameters_.declare({{name, config_.dim, Initializer::constant(1)}}, 0);
  };
  const std::vector<std::int64_t> memory_layers = config_.memory_layers();
  const bool shared = config_.productkey_args.mem_share_values;
  blocks_.reserve(static_cast<std::size_t>(config_.n_layers));
  std::int64_t reader = 0;
  for (std::int64_t layer = 0; layer < config_.n_layers; ++layer) {
    const std::size_t declared = parameters_.declared();
    AttentionLayer attention(parameters_, config_, layer);
    std::unique_ptr<FeedForwardLayer> feed_forward;
    MemoryLayer* memory = nullptr;
    if (std::binary_search(memory_layers.begin(), memory_layers.end(), layer)) {
      const auto readers = static_cast<std::int64_t>(shared ? memory_layers.size() : 1);
      const bool beside = config_.productkey_args.placement == MemoryPlacement::beside;
      std::unique_ptr<DenseFeedForward> dense;
      if (beside) dense = std::make_unique<DenseFeedForward>(parameters_, config_, layer);
      parameters_.freeze(size_.trained == TrainedPart::values);
      auto made =
          std::make_unique<MemoryLayer>(parameters_, config_, layer, shared ? reader : 0, readers);
      parameters_.freeze(size_.trained != TrainedPart::all);
      memory = made.get();
      if (beside) {
        feed_forward = std::make_unique<MemoryBesideFeedForward>(std::move(dense), std::move(made),
                                                                 config_.dim);
      } else {
        feed_forward = std::move(made);
      }
      ++reader;
    } else {
      feed_forward = std::make_unique<DenseFeedForward>(parameters_, config_, layer);
    }
    blocks_.push_back({std::move(attention),
                       std::move(feed_forward),
                       memory,
                       declare_norm(layer_name(layer, "attention_norm.weight")),
                       declare_norm(layer_name(layer, "ffn_norm.weight")),
                       {},
                       {},
                       {},
                       {},
                       {},
                       {},
                       declared});
  }
  declared_in_blocks_ = parameters_.declared();
  norm_ = &declare_norm("norm.weight");
  head_ = std::make_unique<Head>(parameters_, config_, config_.weight_tying ? embedding_ : nullptr);
}

// One bank for all memory layers, or one each.
void Transformer::build_banks(ModelMemory& memory) {
  const ProductKeyConfig& args = config_.productkey_args;
  const std::vector<std::int64_t> layers = config_.memory_layers();
  if (layers.empty()) return;
  const auto readers = static_cast<std::int64_t>(args.mem_share_values ? layers.size() : 1);
  const auto tables = static_cast<std::int64_t>((args.mem_share_values ? 1 : layers.size()) *
                                                (args.peer_variant ? 2 : 1));
  const ReadCapacity capacity{size_.training ? readers * size_.micro_batches : 1,
                              size_.tokens,
                              args.mem_heads * args.mem_knn,
                              size_.staging_bytes / tables,
                              size_.updated_rows,
                              size_.place,
                              size_.shares_memory};
  // De-duplication numbers a step's picks in 32 bits, those of all ranks at the owner.
  if (capacity.place.size * capacity.slots > INT32_MAX / (capacity.tokens * capacity.picks)) {
    fail_input(
        "a step of {} lookups of {} tokens with {} picks each exceeds 2^31 picks: lower "
        "grad_acc_steps, data.batch_size or data.seq_len",
        capacity.slots, capacity.tokens, capacity.picks);
  }
  const Placement placement = args.zero_copy ? Placement::host : Placement::device;
  for (std::size_t i = 0; i < (args.mem_share_values ? 1 : layers.size()); ++i) {
    banks_.emplace_back(layers[i], config_, placement, capacity, size_.dtype, size_.training,
                        memory.device, memory.host);
  }
  std::size_t bank = 0;
  for (Block& block : blocks_) {
    if (block.memory == nullptr) continue;
    block.memory->attach(banks_[bank]);
    if (!args.mem_share_values) ++bank;
  }
}

std::vector<const MemoryLayer*> Transformer::memories() const {
  std::vector<const MemoryLayer*> memories;
  for (const Block& block : blocks_) {
    if (block.memory != nullptr) memories.push_back(block.memory);
  }
  return memories;
}

std::vector<NamedTensor> Transformer::residual_states() const {
  std::vector<NamedTensor> states;
  std::string writer = "tok_embeddings";
  bool kept = lowest_trained() == nullptr;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const std::string layer = "layers." + std::to_string(i);
    if (kept) states.push_back({writer, blocks_[i].input});
    kept = kept || &blocks_[i] == lowest_trained();
    if (kept) states.push_back({layer + ".attention", blocks_[i].middle});
    writer = layer + ".feed_forward";
  }
  states.push_back({writer, last_});
  return states;
}

void Transformer::plan(ModelMemory& memory) {
  const std::int64_t tokens = size_.tokens;
  const DType accumulator = size_.dtype == DType::f64 ? DType::f64 : DType::f32;
  const auto activation = [&](Arena& arena) {
    return arena.allocate("activations", size_.dtype, {tokens, config_.dim});
  };
  const auto statistic = [&] {
    return memory.device.allocate("activations", accumulator, {tokens});
  };
  // Inference keeps nothing for a backward pass, and training nothing of the blocks below the
  // lowest trained layer: these get the same memory, but for the residual state that passes from
  // one to the next.
  bool kept = size_.training && lowest_trained() == nullptr;
  normed_ = activation(memory.device);
  Tensor states[2];
  if (!kept) states[0] = activation(memory.device), states[1] = activation(memory.device);
  const std::int64_t block_mark = memory.device.mark();
  const std::int64_t temporary_mark = memory.temporary.mark();
  for (Block& block : blocks_) {
    const bool lowest = size_.training && &block == lowest_trained();
    if (lowest) memory.device.rewind(memory.device.planned_bytes());
    block.input = kept ? activation(memory.device) : states[0];
    block.attention_input = kept ? activation(memory.device) : normed_;
    block.attention_inverse_rms = statistic();
    block.attention.plan(memory.device, memory.temporary, tokens, size_.dtype, kept);
    memory.temporary.rewind(temporary_mark);
    const Wanted wanted = kept ? Wanted::input : lowest ? Wanted::parameters : Wanted::nothing;
    kept = kept || lowest;
    block.middle = kept ? activation(memory.device) : states[1];
    block.ffn_input = kept ? activation(memory.device) : normed_;
    block.ffn_inverse_rms = statistic();
    block.feed_forward->plan(memory.device, memory.temporary, tokens, size_.dtype, wanted);
    memory.temporary.rewind(temporary_mark);
    if (!kept) memory.device.rewind(block_mark);
  }
  if (!kept) memory.device.rewind(memory.device.planned_bytes());
  head_->plan(memory.temporary, tokens, size_.dtype);
  memory.temporary.rewind(temporary_mark);

  last_ = activation(memory.device);
  last_inverse_rms_ = statistic();
  branch_ = activation(memory.device);
  losses_ = memory.device.allocate("activations", accumulator, {tokens});
  if (size_.training) {
    dresidual_ = activation(memory.device);
    dnormed_ = activation(memory.device);
  }
  if (size_.cache_sequences > 0) {
    for (Block& block : blocks_) {
      block.attention.plan_cache(memory.device, size_.cache_sequences, size_.cache_length,
                                 size_.dtype);
    }
  }
}

void Transformer::initialize(const Context& context, std::uint64_t seed) {
  parameters_.initialize(context, seed);
  for (const MemoryBank& bank : banks_) bank.initialize(context, seed, config_.value_init_std());
}

// --- Figures -------------------------------------------------------------------------------------

// A multiply-add is two operations. The backward pass costs as much as the forward pass for the
// gradient of a layer's input, which the lowest trained layer and those below it do without, and as
// much again for that of its weights, where they are trained.
std::int64_t Transformer::training_flops_per_token() const {
  const bool all = size_.trained == TrainedPart::all;
  const auto flops = [](std::int64_t multiply_adds, bool input, bool weights) {
    return 2 * multiply_adds * (1 + (input ? 1 : 0) + (weights ? 1 : 0));
  };
  std::int64_t sum = flops(head_->multiply_adds(), true, all);
  bool above = all;
  for (const Block& block : blocks_) {
    const std::int64_t memory = block.memory == nullptr ? 0 : block.memory->multiply_adds();
    sum += flops(block.attention.multiply_adds(size_.length), above, all);
    sum += flops(block.feed_forward->multiply_adds() - memory, above, all);
    sum += flops(memory, above, size_.trained != TrainedPart::values);
    above = above || &block == lowest_trained();
  }
  return sum;
}

std::int64_t Transformer::scratch_bytes(Device device) const {
  const std::int64_t tokens = size_.tokens;
  std::int64_t bytes = std::max(rms_norm_scratch_bytes(device, tokens, config_.dim),
                                embedding_scratch_bytes(device, tokens, config_.vocab_size));
  bytes = std::max(bytes, linear_scratch_bytes(device, head_->chunk_tokens(), config_.vocab_size));
  const std::int64_t length = std::max<std::int64_t>(size_.length, 1);
  for (const Block& block : blocks_) {
    bytes = std::max(
        {bytes,
         block.attention.scratch_bytes(device, std::max<std::int64_t>(tokens / length, 1), length),
         block.feed_forward->scratch_bytes(device)});
  }
  if (size_.training) {
    for (const MemoryBank& bank : banks_) bytes = std::max(bytes, bank.scratch_bytes(device));
  }
  return bytes;
}

}  // namespace memengine
