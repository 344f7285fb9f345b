// Watching for numbers that are not finite, and finding the first of them.
#include "engine/training/bad_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/runtime/memory/device_memory.h"

namespace memengine {

BadNumbers::BadNumbers(const GuardConfig& config, Device device)
    : config_(config),
      pinned_(device == Device::cuda),
      spike_news_(config.spike_zscore, config.spike_window) {
  constexpr std::size_t bytes = slots * sizeof(GuardState);
  states_ = static_cast<GuardState*>(pinned_ ? allocate_pinned(bytes) : ::operator new(bytes));
  std::fill_n(states_, slots, GuardState{});
}

BadNumbers::~BadNumbers() {
  if (pinned_) {
    free_pinned(states_);
  } else {
    ::operator delete(states_);
  }
}

void BadNumbers::start(Runtime& runtime, const GuardTensors& guard, std::int64_t step) {
  copy_bytes(runtime.context(), &states_[0], guard.state.data(), sizeof(GuardState));
  runtime.synchronize();
  state_ = states_[0];
  followed_ = looked_ = step;
}

void BadNumbers::follow(const Context& context, const GuardTensors& guard, std::int64_t step,
                        std::int64_t sequence) {
  if (step - looked_ > slots) fail_internal("{} updates were not looked at", step - looked_);
  copy_bytes(context, &states_[step % slots], guard.state.data(), sizeof(GuardState));
  sequences_[static_cast<std::size_t>(step % slots)] = sequence;
  followed_ = step;
}

std::string figures_text(const GuardState& state) {
  std::string text;
  const bool all = std::all_of(std::begin(state.figures), std::end(state.figures),
                               [](double figure) { return std::isfinite(figure); });
  for (int i = 0; i < 3; ++i) {
    if (!all && std::isfinite(state.figures[i])) continue;
    text += fmt::format("{}{} {:.4g}", text.empty() ? "" : ", ", guard_figure_names[i],
                        std::abs(state.figures[i]));
  }
  return text;
}

std::vector<std::string> BadNumbers::look(std::int64_t step) {
  std::vector<std::string> said;
  for (; looked_ < std::min(step, followed_); ++looked_) {
    const std::int64_t now = looked_ + 1;
    const GuardState before = state_;
    state_ = states_[now % slots];
    if (state_.bad_in_a_row > 0) {
      if (state_.bad_in_a_row == 1 || first_bad_sequence_ < 0) {
        first_bad_sequence_ = sequences_[static_cast<std::size_t>(now % slots)];
        said.push_back(
            fmt::format("update {} was skipped: {}; its batch begins at sequence {} of the data",
                        now, figures_text(state_), first_bad_sequence_));
      }
      continue;
    }
    first_bad_sequence_ = -1;
    if (before.bad_in_a_row > 1) {
      said.push_back(fmt::format("update {} is good again, after {} skipped in a row", now,
                                 before.bad_in_a_row));
    }
    if (state_.last_spike_step == now && state_.spikes > before.spikes) {
      const auto worst = std::max_element(std::begin(state_.zscores), std::end(state_.zscores));
      const auto figure = worst - std::begin(state_.zscores);
      if (const auto more = spike_news_.judge(now, *worst)) {
        said.push_back(fmt::format(
            "spike at update {}: {} {:.4g}, {:.1f} deviations above the mean of the last {}{}{}",
            now, guard_figure_names[figure], state_.figures[figure], *worst, config_.spike_window,
            config_.skip_spikes ? "; the update was skipped" : "", *more));
      }
    }
  }
  return said;
}

namespace {

bool is_bad(float x) {
  return !std::isfinite(x);
}

// Index of the first element that is not finite, -1 when there is none.
std::int64_t first_bad_element(Runtime& runtime, const Tensor& tensor) {
  constexpr std::int64_t block = 1 << 22;
  std::vector<std::byte> bytes;
  const std::int64_t size = element_bytes(tensor.dtype());
  for (std::int64_t first = 0; first < tensor.size(); first += block) {
    const std::int64_t count = std::min(block, tensor.size() - first);
    bytes.resize(static_cast<std::size_t>(count * size));
    copy_bytes(runtime.context(), bytes.data(),
               static_cast<const std::byte*>(tensor.data()) + first * size, count * size);
    runtime.synchronize();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::byte* at = bytes.data() + i * size;
      bool bad = false;
      if (tensor.dtype() == DType::f32) {
        float x = 0;
        std::memcpy(&x, at, 4);
        bad = is_bad(x);
      } else if (tensor.dtype() == DType::bf16) {
        bfloat16 x;
        std::memcpy(&x, at, 2);
        bad = is_bad(to_float(x));
      } else {
        double x = 0;
        std::memcpy(&x, at, 8);
        bad = !std::isfinite(x);
      }
      if (bad) return first + i;
    }
  }
  return -1;
}

std::string element_text(const Tensor& tensor, std::int64_t element) {
  if (tensor.rank() < 2) return fmt::format("[{}]", element);
  const std::int64_t columns = tensor.size() / tensor.dim(0);
  return fmt::format("[{}, {}]", element / columns, element % columns);
}

}  // namespace

std::string first_bad_tensor(Runtime& runtime, const Transformer& transformer) {
  const ParameterStore& parameters = transformer.parameters();
  for (const NamedTensor& named : parameters.named()) {
    const std::int64_t element = first_bad_element(runtime, named.value);
    if (element >= 0) {
      return fmt::format("the weight {} {}", named.name, element_text(named.value, element));
    }
  }
  for (const NamedTensor& state : transformer.residual_states()) {
    const std::int64_t element = first_bad_element(runtime, state.value);
    if (element >= 0) {
      return fmt::format("the residual state after {}, [token, column] = {}", state.name,
                         element_text(state.value, element));
    }
  }
  const std::int64_t token = first_bad_element(runtime, transformer.losses());
  if (token >= 0) return fmt::format("the loss of token {}", token);
  const std::vector<NamedTensor> named = parameters.named();
  for (auto at = named.rbegin(); at != named.rend(); ++at) {
    const Tensor gradient = parameters.part_of(parameters.gradients(), at->value);
    if (gradient.empty()) continue;
    const std::int64_t element = first_bad_element(runtime, gradient);
    if (element >= 0) {
      return fmt::format("the gradient of {} {}", at->name, element_text(gradient, element));
    }
  }
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      const std::int64_t element = first_bad_element(runtime, table.row_gradients());
      if (element >= 0) {
        return fmt::format("the row gradients of {} {}", table.name(),
                           element_text(table.row_gradients(), element));
      }
    }
  }
  return "no tensor";
}

}  // namespace memengine
