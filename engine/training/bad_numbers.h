// Follows the guard of the updates (optim/update_guard.h) from the host, and says what went wrong.
//
// After every step the guard's state is copied to the host without waiting for it; it is looked at
// when the device is known to be past it, two steps later on a GPU.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/training/watch/spike_news.h"
#include "kernels/runtime/context.h"
#include "kernels/runtime/runtime.h"
#include "model/transformer.h"
#include "optim/update_guard.h"

namespace memengine {

// Training was stopped by bad numbers; exit code 3.
class DivergedError : public Error {
 public:
  explicit DivergedError(const std::string& message) : Error(Kind::internal, message) {}
};

class BadNumbers {
 public:
  BadNumbers(const GuardConfig& config, Device device);
  ~BadNumbers();
  BadNumbers(const BadNumbers&) = delete;
  BadNumbers& operator=(const BadNumbers&) = delete;

  // Goes on from the guard's present state, after update `step`; waits for the device.
  void start(Runtime& runtime, const GuardTensors& guard, std::int64_t step);

  // Enqueues the copy of the state after update `step`, whose batch begins at `sequence` of the
  // data's stream. At most 4 updates may be followed and not looked at.
  void follow(const Context& context, const GuardTensors& guard, std::int64_t step,
              std::int64_t sequence);

  // Looks at all updates up to `step`, which the device has done. Returns what is worth saying:
  // the first bad update of a row, the end of a row, a spike that is news.
  std::vector<std::string> look(std::int64_t step);

  // Of the last update looked at.
  const GuardState& state() const { return state_; }
  bool must_stop() const {
    return config_.max_bad_steps > 0 && state_.bad_in_a_row >= config_.max_bad_steps;
  }
  // Where the batch of the first bad update of the present row begins in the data's stream.
  std::int64_t first_bad_sequence() const { return first_bad_sequence_; }

 private:
  static constexpr std::int64_t slots = 4;

  GuardConfig config_;
  bool pinned_;
  GuardState* states_ = nullptr;  // [slots], page-locked for a GPU
  std::array<std::int64_t, slots> sequences_{};
  std::int64_t followed_ = 0;  // the last update that was followed
  std::int64_t looked_ = 0;    // and that was looked at
  GuardState state_;
  SpikeNews spike_news_;
  std::int64_t first_bad_sequence_ = -1;
};

// "loss nan, gradient norm 1.5": the figures of an update that are not finite, or all of them.
std::string figures_text(const GuardState& state);

// The first tensor on the data's way that holds a number that is not finite, after a step that was
// left out: weights, then what the last micro-batch's forward pass left, losses, and gradients from
// the head backwards; with the element. "no tensor" where all are finite.
std::string first_bad_tensor(Runtime& runtime, const Transformer& transformer);

}  // namespace memengine
