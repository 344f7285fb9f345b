// How long a run's exchanges between ranks take, and how much they send, by what they are for.
//
// It stands before a communicator and passes every call on. On a GPU two events stand around each
// call on its stream; in a recorded graph every replay sets them anew, so the calls of a step are
// known from the recording and their times from each replay. On the CPU a clock does.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/bench/results.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/step_graph.h"

namespace memengine::bench {

class ExchangeMeter : public Communicator {
 public:
  // `ranks` outlives the meter. Until observe(true) calls are only passed on.
  explicit ExchangeMeter(Communicator& ranks) : ranks_(ranks) {}

  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  void all_reduce_sum(const Context& context, Tensor values) override;
  void all_gather(const Context& context, Tensor all, Tensor mine) override;
  void all_to_all(const Context& context, void* received,
                  std::span<const std::int64_t> received_bytes, const void* sent,
                  std::span<const std::int64_t> sent_bytes) override;
  void broadcast(const Context& context, Tensor values, int root) override;
  std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) override {
    return ranks_.gather_bytes(mine);
  }
  bool shares_memory() const override { return ranks_.shares_memory(); }
  std::vector<void*> peers(void* mine) override { return ranks_.peers(mine); }
  void forget_peers() noexcept override { ranks_.forget_peers(); }
  void meet(const Context& context) override;
  std::unique_ptr<Rendezvous> rendezvous() override { return ranks_.rendezvous(); }
  void read_peers(const Context& context, double bytes,
                  const std::function<void()>& exchange) override {
    measure(context, bytes, exchange);
  }
  void abort() noexcept override { ranks_.abort(); }

  void observe(bool on) { observes_ = on; }
  // Before a step is enqueued: its calls, if it makes any, take the place of the last step's.
  void begin_step() { next_step_ = true; }
  // After it, once the device is done: its times are added up.
  void end_step();
  // Of all steps since the last call of this; the longest first.
  std::vector<ExchangeShare> shares();

 private:
  struct Call {
    const char* purpose = nullptr;
    double bytes = 0;
    double seconds = 0;       // on the CPU
    StreamMarker begin, end;  // on a GPU
  };

  template <typename Exchange>
  void measure(const Context& context, double bytes, Exchange&& exchange);

  Communicator& ranks_;
  bool observes_ = false;
  bool next_step_ = false;
  std::deque<Call> calls_;  // of a step
  bool on_device_ = false;
  std::vector<ExchangeShare> sums_;
  int steps_ = 0;
};

}  // namespace memengine::bench
