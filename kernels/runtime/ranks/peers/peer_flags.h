// GPUs of one host wait for one another without a kernel: at words in GPU memory.
//
// Who comes to a meeting copies a one into a word of each other rank's memory (the copy engine does
// that, after all that the stream has done before), and its stream waits until the others' ones
// stand in its own words; then it sets them back. Both are commands of the stream (stream memory
// operations), so that no multiprocessor waits, and a recorded graph does the same at each replay.
// A word is set back before its rank comes to the next meeting, at another place, and the others'
// next ones come after that: so none is lost.
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

  // Whether this GPU and its driver do that, in graphs too. Tries it out, without other ranks.
  static bool work();

  // All ranks together. With `by_kernel` a warp waits, where streams cannot.
  PeerFlags(int rank, int size, const Find& find, bool by_kernel = false);
  ~PeerFlags() override;
  PeerFlags(const PeerFlags&) = delete;
  PeerFlags& operator=(const PeerFlags&) = delete;

  void meet(const Context& context, int place) override;

  // From any thread, once: the end of all waits, those of now and those to come.
  void open() noexcept;

 private:
  std::int32_t* words(int place) const { return words_ + place * size_; }

  int rank_, size_;
  bool by_kernel_;
  std::int32_t* words_ = nullptr;  // [places, ranks], and a one
  std::vector<void*> peers_;       // the others' words
  CUstream_st* opening_ = nullptr;
  std::atomic<bool> ends_ = false;
  std::thread opener_;
};

namespace cuda {
// The stream goes on once words[r] is not zero, for all r < count but `own`; sets them back.
void wait_for_ones(const Context& context, std::int32_t* words, int count, int own);
}  // namespace cuda

}  // namespace memengine
