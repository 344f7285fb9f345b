// GPUs of one host wait for one another on streams, at words in GPU memory.
//
// Who comes to a meeting copies a one into a word of each other rank's memory (the copy engine does
// that, after all that the stream has done before); then a warp waits until the others' ones stand
// in its own words, and sets them back. A recorded graph does the same at each replay. A word is
// set back before its rank comes to the next meeting, at another place, and the others' next ones
// come after that: so none is lost.
//
// Waits by commands of the stream (stream memory operations) take no multiprocessor at all, and
// were slower, by a tenth of a millisecond each (tests/GPU.md).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "kernels/runtime/communicator.h"

namespace memengine {

class PeerFlags : public Rendezvous {
 public:
  // As Communicator::peers().
  using Find = std::function<std::vector<void*>(void*)>;

  // All ranks together.
  PeerFlags(int rank, int size, const Find& find);
  ~PeerFlags() override;
  PeerFlags(const PeerFlags&) = delete;
  PeerFlags& operator=(const PeerFlags&) = delete;

  void meet(const Context& context, int place) override;

  // From any thread, once: the end of all waits, those of now and those to come.
  void open() noexcept;

 private:
  std::int32_t* words(int place) const { return words_ + place * size_; }

  int rank_, size_;
  std::int32_t* words_ = nullptr;  // [places, ranks], and a one
  std::vector<void*> peers_;       // the others' words
  CUstream_st* opening_ = nullptr;
  std::atomic<bool> ends_ = false;
  std::thread opener_;
};

}  // namespace memengine
