// The one seam through which everything that sums over the batch goes: losses, gradient norms,
// batch-norm statistics, dense gradients, row gradients; and through which the ranks that share a
// value table ask one another for rows.
//
// A rank is a process with a device of its own. All ranks make the same calls in the same order,
// from one thread each; a call that only some make is a wait that does not end. With one rank a sum
// over ranks is the tensor itself, and this class is all there is. Several ranks derive from it:
// ranks/mpi_communicator.h between CPUs, ranks/nccl_communicator.h between GPUs. Whoever starts the
// run owns the communicator (ranks/join_ranks.h); it outlives the Runtime that is given it.
//
// Errors: a rank that does not come within patience(), a rank that is gone, and abort() end a wait
// with an internal Error that says so; after that every call fails.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/runtime/context.h"
#include "kernels/runtime/tensor.h"

namespace memengine {

// Where ranks that share memory wait for one another, each on a stream of its own, whatever is
// exchanged on other streams meanwhile (Communicator::rendezvous()).
class Rendezvous {
 public:
  static constexpr int places = 3;

  virtual ~Rendezvous() = default;
  // As Communicator::meet(), at one of the places; never twice in a row at the same one.
  virtual void meet(const Context&, int place) = 0;
};

class Communicator {
 public:
  Communicator() = default;
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const { return 0; }
  virtual int size() const { return 1; }

  // --- Between devices: tensors are in the context's device's memory, and on a GPU the work is
  // enqueued on the context's stream. Calls on several streams are done in the order they were
  // made.

  // In place: values[i] = (rank 0's + rank 1's) + rank 2's ..., the same bits on every rank and
  // every time. f32, f64 or i32. Between CPUs f32 is added up in double; between GPUs the order is
  // NCCL's, which is the same every time on the same machines.
  virtual void all_reduce_sum(const Context&, Tensor /*values*/) {}

  // all [size * n] = `mine` [n] of rank 0, of rank 1, ...; one dtype and n everywhere.
  virtual void all_gather(const Context& context, Tensor all, Tensor mine);

  // `sent` is cut into one part for each rank, in their order, of sent_bytes[r] bytes; the part
  // that rank r has for us comes to `received`, part after part, of received_bytes[r] bytes: what r
  // says it sends here. Parts may be empty. The two may not overlap.
  virtual void all_to_all(const Context& context, void* received,
                          std::span<const std::int64_t> received_bytes, const void* sent,
                          std::span<const std::int64_t> sent_bytes);

  // values of every rank = those of rank `root`.
  virtual void broadcast(const Context&, Tensor /*values*/, int /*root*/) {}

  // --- Memory that ranks share: each reads the others' where it lies. GPUs of one host can, and
  // threads of one process.

  // Whether they do: the same on all ranks, and for good.
  virtual bool shares_memory() const { return size() == 1; }
  // Where this rank finds what every rank hands in, in their order: an address in device memory
  // that is not freed before forget_peers(). All ranks call it together.
  virtual std::vector<void*> peers(void* mine) { return {mine}; }
  // All addresses that peers() has told end here. Of this rank alone.
  virtual void forget_peers() noexcept {}
  // Work that is enqueued on the context after this begins when all that every rank has enqueued
  // before it, on its own context, is done and can be read. All ranks call it.
  virtual void meet(const Context&) {}
  // A way to meet that takes no multiprocessor of a GPU and does not stand in the order of the
  // other exchanges; null where there is none. The same on all ranks, who call it together; it goes
  // before the communicator does.
  virtual std::unique_ptr<Rendezvous> rendezvous();
  // Runs `exchange`, which enqueues on the context's stream the reading of `bytes` in other ranks'
  // memory: so that measurements of exchanges know of it.
  virtual void read_peers(const Context&, double /*bytes*/, const std::function<void()>& exchange) {
    exchange();
  }

  // --- Between hosts: ordinary memory; the result is there on return.

  // Of each rank, in their order: `mine` of everybody, of the same length.
  virtual std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) {
    return {mine.begin(), mine.end()};
  }
  template <typename T>
  std::vector<T> gather(const T& mine) {
    const std::vector<std::byte> bytes = gather_bytes(std::as_bytes(std::span(&mine, 1)));
    std::vector<T> all(static_cast<std::size_t>(size()));
    std::copy(bytes.begin(), bytes.end(), std::as_writable_bytes(std::span(all)).begin());
    return all;
  }
  // In the order of ranks, the same bits everywhere.
  template <typename T>
  T sum(const T& mine) {
    T total{};
    for (const T& of_rank : gather(mine)) total += of_rank;
    return total;
  }
  template <typename T>
  T largest(const T& mine) {
    T most = mine;
    for (const T& of_rank : gather(mine)) most = most < of_rank ? of_rank : most;
    return most;
  }
  // Returns when all ranks have called it.
  void barrier() { gather<std::uint8_t>(0); }

  // What the exchanges are for that are made now: "dense gradients". See ExchangePurpose.
  const char* purpose() const { return purpose_; }

  // --- Waiting and endings.

  // How long a wait for another rank may last, in seconds. A save or an evaluation of one rank
  // alone must fit into it.
  void set_patience(double seconds) { patience_ = seconds; }
  double patience() const { return patience_; }
  // Asked some hundred times per second during waits; what it throws ends the wait.
  void set_watch(std::function<void()> watch) { watch_ = std::move(watch); }

  // From any thread: waits in progress and all calls to come fail. Waits for nothing.
  virtual void abort() noexcept {}

  // The orderly end: all ranks come here after their last call. Without it, ranks that still wait
  // are told that this one is gone.
  virtual void leave() {}

 protected:
  void ask_watch() const {
    if (watch_) watch_();
  }

 private:
  friend class ExchangePurpose;

  double patience_ = 600;
  std::function<void()> watch_;
  const char* purpose_ = "other";
};

// Names what the exchanges are for that are made while it lives, so that measurements tell them
// apart. The name outlives the communicator.
class ExchangePurpose {
 public:
  ExchangePurpose(Communicator& ranks, const char* name) : ranks_(ranks), before_(ranks.purpose_) {
    ranks.purpose_ = name;
  }
  ~ExchangePurpose() { ranks_.purpose_ = before_; }
  ExchangePurpose(const ExchangePurpose&) = delete;
  ExchangePurpose& operator=(const ExchangePurpose&) = delete;

 private:
  Communicator& ranks_;
  const char* before_;
};

}  // namespace memengine
