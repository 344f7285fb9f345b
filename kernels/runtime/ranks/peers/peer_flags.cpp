// Copies of single words, and waits that the driver puts into streams.
#include "kernels/runtime/ranks/peers/peer_flags.h"

#if MEMENGINE_HAS_CUDA
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstddef>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using BatchOperations = decltype(&cuStreamBatchMemOp);

// The driver's own function, fetched at run time; null where it has none.
BatchOperations batch_operations() {
  static const BatchOperations found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuStreamBatchMemOp", &function,
                                                                12000, cudaEnableDefault, &result);
    const bool there = status == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return there ? reinterpret_cast<BatchOperations>(function) : nullptr;
  }();
  return found;
}

CUstreamBatchMemOpParams wait_for_one(std::int32_t* word) {
  CUstreamBatchMemOpParams operation{};
  operation.waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
  operation.waitValue.address = reinterpret_cast<CUdeviceptr>(word);
  operation.waitValue.value = 1;
  operation.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
  return operation;
}

CUstreamBatchMemOpParams set_to(std::int32_t* word, std::uint32_t value) {
  CUstreamBatchMemOpParams operation{};
  operation.writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
  operation.writeValue.address = reinterpret_cast<CUdeviceptr>(word);
  operation.writeValue.value = value;
  operation.writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
  return operation;
}

bool enqueue(cudaStream_t stream, std::vector<CUstreamBatchMemOpParams> operations) {
  return batch_operations()(stream, static_cast<unsigned>(operations.size()), operations.data(),
                            0) == CUDA_SUCCESS;
}

// An allocation of its own, which other processes can open.
constexpr std::size_t block_bytes = std::size_t{2} << 20;

// The copy of a one, the wait for it and its end, recorded on the stream and replayed.
bool replay_works(cudaStream_t stream, std::int32_t* word, const std::int32_t* one) {
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return false;
  bool works =
      cudaMemcpyAsync(word, one, sizeof *word, cudaMemcpyDeviceToDevice, stream) == cudaSuccess &&
      enqueue(stream, {wait_for_one(word), set_to(word, 0)});
  cudaGraph_t graph = nullptr;
  works = cudaStreamEndCapture(stream, &graph) == cudaSuccess && works;
  cudaGraphExec_t executable = nullptr;
  works = works && cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess;
  for (int i = 0; i < 2 && works; ++i) works = cudaGraphLaunch(executable, stream) == cudaSuccess;
  works = cudaStreamSynchronize(stream) == cudaSuccess && works;
  if (executable != nullptr) cudaGraphExecDestroy(executable);
  if (graph != nullptr) cudaGraphDestroy(graph);
  return works;
}

}  // namespace

bool PeerFlags::work() {
  if (batch_operations() == nullptr) return false;
  cudaStream_t stream = nullptr;
  std::int32_t* words = nullptr;
  std::int32_t last = -1;
  bool works =
      cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess &&
      cudaMalloc(&words, 2 * sizeof *words) == cudaSuccess &&
      enqueue(stream,
              {set_to(words, 1), wait_for_one(words), set_to(words, 0), set_to(words + 1, 1)}) &&
      cudaStreamSynchronize(stream) == cudaSuccess && replay_works(stream, words, words + 1) &&
      cudaMemcpy(&last, words, sizeof last, cudaMemcpyDeviceToHost) == cudaSuccess && last == 0;
  cudaFree(words);
  if (stream != nullptr) cudaStreamDestroy(stream);
  cudaGetLastError();
  return works;
}

PeerFlags::PeerFlags(int rank, int size, const Find& find, bool by_kernel)
    : rank_(rank), size_(size), by_kernel_(by_kernel) {
  void* block = nullptr;
  MEMENGINE_CUDA_CHECK(cudaMalloc(&block, block_bytes));
  words_ = static_cast<std::int32_t*>(block);
  const std::int32_t one = 1;
  MEMENGINE_CUDA_CHECK(cudaMemset(block, 0, block_bytes));
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
  std::vector<CUstreamBatchMemOpParams> operations;
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    auto* theirs = static_cast<std::int32_t*>(peers_[static_cast<std::size_t>(r)]);
    MEMENGINE_CUDA_CHECK(cudaMemcpyAsync(theirs + place * size_ + rank_, words(places),
                                         sizeof(std::int32_t), cudaMemcpyDeviceToDevice,
                                         context.stream));
    operations.push_back(wait_for_one(words(place) + r));
  }
  if (by_kernel_) return cuda::wait_for_ones(context, words(place), size_, rank_);
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) operations.push_back(set_to(words(place) + r, 0));
  }
  if (!enqueue(context.stream, std::move(operations))) {
    fail_internal("CUDA: a stream cannot wait for another GPU");
  }
}

// Each wait sets its word back, so the words are filled again and again: any number above zero ends
// a wait.
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

#endif
