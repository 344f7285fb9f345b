// Copies of single words, and a warp that waits.
#include "kernels/runtime/ranks/peers/peer_flags.h"

#include <chrono>
#include <cstddef>

#include "kernels/runtime/cuda_check.h"

namespace memengine {
namespace {

// An allocation of its own, which other processes can open.
constexpr std::size_t flags_block_bytes = std::size_t{2} << 20;

__global__ void __launch_bounds__(32) flags_wait_kernel(std::int32_t* words, int count, int own) {
  for (int r = static_cast<int>(threadIdx.x); r < count; r += static_cast<int>(blockDim.x)) {
    if (r == own) continue;
    volatile std::int32_t* word = words + r;
    while (*word == 0) __nanosleep(200);
    *word = 0;
  }
  __threadfence_system();
}

}  // namespace

PeerFlags::PeerFlags(int rank, int size, const Find& find) : rank_(rank), size_(size) {
  void* block = nullptr;
  MEMENGINE_CUDA_CHECK(cudaMalloc(&block, flags_block_bytes));
  words_ = static_cast<std::int32_t*>(block);
  const std::int32_t one = 1;
  MEMENGINE_CUDA_CHECK(cudaMemset(block, 0, flags_block_bytes));
  MEMENGINE_CUDA_CHECK(cudaMemcpy(words(places), &one, sizeof one, cudaMemcpyHostToDevice));
  MEMENGINE_CUDA_CHECK(cudaDeviceSynchronize());
  MEMENGINE_CUDA_CHECK(cudaStreamCreateWithFlags(&opening_, cudaStreamNonBlocking));
  peers_ = find(block);  // everybody's are zero when this returns: who comes here has set its own
}

PeerFlags::~PeerFlags() {
  ends_ = true;
  if (opener_.joinable()) opener_.join();
  cudaStreamDestroy(opening_);
  cudaFree(words_);
}

void PeerFlags::meet(const Context& context, int place) {
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    auto* theirs = static_cast<std::int32_t*>(peers_[static_cast<std::size_t>(r)]);
    MEMENGINE_CUDA_CHECK(cudaMemcpyAsync(theirs + place * size_ + rank_, words(places),
                                         sizeof(std::int32_t), cudaMemcpyDeviceToDevice,
                                         context.stream));
  }
  flags_wait_kernel<<<1, 32, 0, context.stream>>>(words(place), size_, rank_);
  MEMENGINE_LAUNCH_CHECK("a wait for other GPUs");
}

// Each wait sets its word back, so the words are filled again and again: any number but zero ends a
// wait.
void PeerFlags::open() noexcept {
  if (opener_.joinable()) return;
  try {
    opener_ = std::thread([this] {
      const std::size_t bytes = sizeof(std::int32_t) * static_cast<std::size_t>(places * size_);
      while (!ends_) {
        if (cudaStreamQuery(opening_) == cudaSuccess) cudaMemsetAsync(words_, 1, bytes, opening_);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  } catch (...) {  // then the process ends by its last resort
  }
}

}  // namespace memengine
