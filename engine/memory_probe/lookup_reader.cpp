// Two sets of buffers in turn: enqueue pass i + 1, look at pass i, wait for pass i + 1.
#include "engine/memory_probe/lookup_reader.h"

#include <cstring>
#include <utility>

#include "kernels/runtime/bfloat16.h"

namespace memengine {
namespace {

// Where the lookups of a pass of up to N rows go.
class LookupBuffers {
 public:
  LookupBuffers(InferenceModel& model, const LookupWishes& wishes) : wishes_(wishes) {
    const ModelConfig& config = model.config();
    const ProductKeyConfig& args = config.productkey_args;
    dtype_ = model.transformer().size().dtype;
    const std::int64_t rows = model.size().tokens;
    const std::int64_t picks = rows * args.mem_heads * args.mem_knn;
    const bool has_gate = args.swilu_projection && !args.peer_variant;
    picks_bytes_ = picks * 4;
    weight_bytes_ = wishes.weights ? picks * element_bytes(dtype_) : 0;
    gate_bytes_ = wishes.gate && has_gate ? rows * config.value_dim() * element_bytes(dtype_) : 0;
    const auto layers = static_cast<std::int64_t>(config.memory_layers().size());
    block_ = HostBlock(layers * layer_bytes(), model.context().on_cuda(), "the memory's picks");
  }

  // Enqueues a pass and the copies of its lookups.
  void start(InferenceModel& model) {
    std::int64_t memory = 0;
    PassHooks hooks;
    hooks.looked_up = [&](const std::string&, const MemoryLookup& lookup) {
      std::byte* to = block_.data() + memory++ * layer_bytes();
      copy_bytes(model.context(), to, lookup.picks.data(), lookup.picks.bytes());
      to += picks_bytes_;
      if (weight_bytes_ > 0) {
        copy_bytes(model.context(), to, lookup.weights.data(), lookup.weights.bytes());
      }
      to += weight_bytes_;
      if (gate_bytes_ > 0) {
        copy_bytes(model.context(), to, lookup.gate.data(), lookup.gate.bytes());
      }
    };
    model.look_up(rows, hooks);
    count_ = memory;
  }

  LookupPass pass(const ModelConfig& config) const {
    LookupPass pass{rows, config.productkey_args.mem_heads, config.productkey_args.mem_knn, {}};
    for (std::int64_t memory = 0; memory < count_; ++memory) {
      const std::byte* at = block_.data() + memory * layer_bytes();
      LayerLookup lookup;
      lookup.picks = reinterpret_cast<const std::int32_t*>(at);
      if (weight_bytes_ > 0) lookup.weights = {at + picks_bytes_, dtype_};
      if (gate_bytes_ > 0) lookup.gate = {at + picks_bytes_ + weight_bytes_, dtype_};
      pass.memories.push_back(lookup);
    }
    return pass;
  }

  ScoreRows rows;

 private:
  std::int64_t layer_bytes() const {
    return (picks_bytes_ + weight_bytes_ + gate_bytes_ + 255) / 256 * 256;
  }

  LookupWishes wishes_;
  DType dtype_;
  std::int64_t picks_bytes_ = 0, weight_bytes_ = 0, gate_bytes_ = 0, count_ = 0;
  HostBlock block_;
};

}  // namespace

float RawNumbers::operator[](std::int64_t i) const {
  switch (dtype) {
    case DType::bf16:
      return to_float(reinterpret_cast<const bfloat16*>(data)[i]);
    case DType::f64:
      return static_cast<float>(reinterpret_cast<const double*>(data)[i]);
    default:
      return reinterpret_cast<const float*>(data)[i];
  }
}

void read_lookups(InferenceModel& model, const LookupWishes& wishes, const NextPass& next,
                  const std::function<void(const LookupPass&)>& visit) {
  LookupBuffers running(model, wishes), done(model, wishes);
  if (!next(running.rows)) return;
  running.start(model);
  for (bool more = true; more;) {
    more = next(done.rows);  // while the device works
    model.synchronize();
    std::swap(running, done);
    if (more) running.start(model);
    visit(done.pass(model.config()));
  }
}

void read_lookups(InferenceModel& model, const LookupWishes& wishes, const ScoreRows& rows,
                  const std::function<void(const LookupPass&)>& visit) {
  LookupBuffers buffers(model, wishes);
  buffers.rows = rows;
  buffers.start(model);
  model.synchronize();
  visit(buffers.pass(model.config()));
}

}  // namespace memengine
