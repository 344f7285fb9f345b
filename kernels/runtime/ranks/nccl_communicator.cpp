// Collectives on streams, and a host that waits for them without blocking, so that it hears of
// ranks that are gone.
#include "kernels/runtime/ranks/nccl_communicator.h"

#include "kernels/runtime/error.h"

#if MEMENGINE_HAS_NCCL
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/ranks/peers/peer_flags.h"
#include "kernels/runtime/ranks/peers/peer_memory.h"

namespace memengine {
namespace {

static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));

void check(ncclResult_t status, const char* what) {
  if (status == ncclSuccess || status == ncclInProgress) return;
  fail_internal("NCCL could not {}: {}", what, ncclGetErrorString(status));
}

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::f64:
      return ncclFloat64;
    case DType::i32:
      return ncclInt32;
    case DType::bf16:
      return ncclBfloat16;
    case DType::u8:
      return ncclUint8;
  }
  return ncclUint8;
}

// Before NCCL looks. Buffers of graphs that are registered with it are summed in another way than
// the same ones outside of graphs: the steps of a run that are no graph would have other bits.
void set_up() {
  setenv("NCCL_NVLS_ENABLE", "0", 1);
  setenv("NCCL_GRAPH_REGISTER", "0", 0);
}

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(int rank, int size, const NcclId& id) : rank_(rank), size_(size) {
    set_up();
    ncclUniqueId unique;
    std::memcpy(&unique, id.data(), sizeof unique);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    check(ncclCommInitRankConfig(&joined_, size, unique, rank, &config), "join the ranks");
    settle("join the ranks");
    comm_ = blocking_copy();
    MEMENGINE_CUDA_CHECK(cudaStreamCreateWithFlags(&host_stream_, cudaStreamNonBlocking));
    MEMENGINE_CUDA_CHECK(cudaEventCreateWithFlags(&last_, cudaEventDisableTiming));
    MEMENGINE_CUDA_CHECK(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming));
    MEMENGINE_CUDA_CHECK(cudaEventCreateWithFlags(&recorded_, cudaEventDisableTiming));
    MEMENGINE_CUDA_CHECK(cudaMalloc(&met_, sizeof(std::int32_t)));
    MEMENGINE_CUDA_CHECK(cudaMemset(met_, 0, sizeof(std::int32_t)));
    MEMENGINE_CUDA_CHECK(cudaDeviceSynchronize());
    memory_.emplace(rank, size,
                    [this](std::span<const std::byte> mine) { return gather_bytes(mine); });
  }
  ~NcclCommunicator() override {
    memory_.reset();
    cudaFree(met_);
    cudaFree(staging_);
    if (!left_ && !aborted_.exchange(true)) abort_now();
    if (aborter_.joinable()) aborter_.join();
    cudaEventDestroy(recorded_);
    cudaEventDestroy(arrived_);
    cudaEventDestroy(last_);
    cudaStreamDestroy(host_stream_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(const Context& context, Tensor values) override {
    enqueue(context.stream, "sum", [&](cudaStream_t stream) {
      return ncclAllReduce(values.data(), values.data(), static_cast<std::size_t>(values.size()),
                           type_of(values.dtype()), ncclSum, comm_, stream);
    });
  }

  void all_gather(const Context& context, Tensor all, Tensor mine) override {
    gather_on(context.stream, all.data(), mine.data(), mine.bytes());
  }

  void all_to_all(const Context& context, void* received,
                  std::span<const std::int64_t> received_bytes, const void* sent,
                  std::span<const std::int64_t> sent_bytes) override {
    enqueue(context.stream, "exchange", [&](cudaStream_t stream) {
      auto* to = static_cast<std::byte*>(received);
      const auto* from = static_cast<const std::byte*>(sent);
      check(ncclGroupStart(), "exchange");
      for (int r = 0; r < size_; ++r) {
        const auto in = static_cast<std::size_t>(received_bytes[static_cast<std::size_t>(r)]);
        const auto out = static_cast<std::size_t>(sent_bytes[static_cast<std::size_t>(r)]);
        if (out > 0) check(ncclSend(from, out, ncclUint8, r, comm_, stream), "send");
        if (in > 0) check(ncclRecv(to, in, ncclUint8, r, comm_, stream), "receive");
        to += in;
        from += out;
      }
      return ncclGroupEnd();
    });
  }

  void broadcast(const Context& context, Tensor values, int root) override {
    enqueue(context.stream, "broadcast", [&](cudaStream_t stream) {
      return ncclBroadcast(values.data(), values.data(), static_cast<std::size_t>(values.bytes()),
                           ncclUint8, root, comm_, stream);
    });
  }

  bool shares_memory() const override { return memory_->works(); }
  std::vector<void*> peers(void* mine) override { return memory_->find(mine); }
  void forget_peers() noexcept override {
    if (memory_) memory_->forget();
  }
  // A sum of next to nothing begins when everybody has come to it.
  void meet(const Context& context) override {
    all_reduce_sum(context, Tensor(met_, DType::i32, {1}));
  }

  // MEMENGINE_COPIES=0 does without.
  std::unique_ptr<Rendezvous> rendezvous() override {
    if (sum(is_wanted("MEMENGINE_COPIES") ? 1 : 0) < size_) return nullptr;
    auto flags = std::make_unique<Flags>(*this);
    const std::lock_guard guard(flags_lock_);
    flags_.push_back(flags.get());
    if (aborted_) flags->open();
    return flags;
  }

  // By way of the device.
  std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) override {
    const std::size_t bytes = mine.size();
    std::vector<std::byte> all(bytes * static_cast<std::size_t>(size_));
    if (bytes == 0) return all;
    auto* staging = stage(bytes * static_cast<std::size_t>(size_ + 1));
    MEMENGINE_CUDA_CHECK(
        cudaMemcpyAsync(staging, mine.data(), bytes, cudaMemcpyHostToDevice, host_stream_));
    gather_on(host_stream_, staging + bytes, staging, static_cast<std::int64_t>(bytes));
    MEMENGINE_CUDA_CHECK(cudaEventRecord(arrived_, host_stream_));
    wait_for([&] { return cudaEventQuery(arrived_) != cudaErrorNotReady; }, "gather");
    MEMENGINE_CUDA_CHECK(cudaMemcpyAsync(all.data(), staging + bytes, all.size(),
                                         cudaMemcpyDeviceToHost, host_stream_));
    MEMENGINE_CUDA_CHECK(cudaStreamSynchronize(host_stream_));
    return all;
  }

  // NCCL tells the GPU to stop at once, and then waits until no graph is left that holds its work:
  // on a thread of its own, because whoever calls this waits for nothing.
  void abort() noexcept override {
    if (aborted_.exchange(true)) return;
    {
      const std::lock_guard guard(flags_lock_);
      for (PeerFlags* flags : flags_) flags->open();
    }
    try {
      aborter_ = std::thread([this] { abort_now(); });
    } catch (...) {
      abort_now();
    }
  }

  void leave() override {
    if (left_ || aborted_) return;
    barrier();
    MEMENGINE_CUDA_CHECK(cudaDeviceSynchronize());
    left_ = true;
    if (comm_ != joined_) {
      check(ncclCommFinalize(comm_), "part");
      check(ncclCommDestroy(comm_), "part");
    }
    check(ncclCommFinalize(joined_), "part");
    settle("part");
    check(ncclCommDestroy(joined_), "part");
  }

 private:
  // Ranks join by a communicator that does not block, so that they hear of one that never comes.
  // With it NCCL starts a thread for each collective; what works from then on is a copy that
  // enqueues on the caller's, as graphs want it too. Where it cannot be had, the first does.
  ncclComm_t blocking_copy() {
    ncclComm_t copy = nullptr;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    const ncclResult_t status = ncclCommSplit(joined_, 0, rank_, &copy, &config);
    if (status != ncclSuccess && status != ncclInProgress) return joined_;
    settle("join the ranks");
    return copy != nullptr ? copy : joined_;
  }
  // Known to abort() as long as they live.
  class Flags : public PeerFlags {
   public:
    explicit Flags(NcclCommunicator& ranks)
        : PeerFlags(ranks.rank_, ranks.size_, [&](void* mine) { return ranks.peers(mine); }),
          ranks_(ranks) {}
    ~Flags() override {
      const std::lock_guard guard(ranks_.flags_lock_);
      std::erase(ranks_.flags_, this);
    }

   private:
    NcclCommunicator& ranks_;
  };
  void abort_now() noexcept {
    if (comm_ != joined_ && comm_ != nullptr) ncclCommAbort(comm_);
    ncclCommAbort(joined_);
  }

  // One after the other, whatever streams they are enqueued on. What is recorded into a graph
  // follows what was recorded into it before; NCCL itself puts a graph's replays and other calls in
  // the order they are made in.
  template <typename Call>
  void enqueue(cudaStream_t stream, const char* what, Call&& call) {
    if (aborted_ || left_) fail_internal("the ranks have parted: no {} any more", what);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    unsigned long long recording = 0;
    MEMENGINE_CUDA_CHECK(cudaStreamGetCaptureInfo(stream, &status, &recording));
    const bool records = status == cudaStreamCaptureStatusActive;
    if (!records || recording == recording_) {
      MEMENGINE_CUDA_CHECK(cudaStreamWaitEvent(stream, records ? recorded_ : last_, 0));
    }
    check(call(stream), what);
    settle(what);
    MEMENGINE_CUDA_CHECK(cudaEventRecord(records ? recorded_ : last_, stream));
    if (records) recording_ = recording;
  }
  void gather_on(cudaStream_t stream, void* all, const void* mine, std::int64_t bytes) {
    enqueue(stream, "gather", [&](cudaStream_t on) {
      return ncclAllGather(mine, all, static_cast<std::size_t>(bytes), ncclUint8, comm_, on);
    });
  }

  // While ranks join and part, the one that joined them.
  ncclComm_t working() const { return comm_ != nullptr && !left_ ? comm_ : joined_; }

  // Until NCCL has taken what it was given.
  void settle(const char* what) {
    ncclResult_t state = ncclInProgress;
    wait_for(
        [&] {
          check(ncclCommGetAsyncError(working(), &state), what);
          check(state, what);
          return state != ncclInProgress;
        },
        what);
  }
  template <typename Done>
  void wait_for(Done&& done, const char* what) {
    const auto begin = std::chrono::steady_clock::now();
    for (int looks = 0; !done(); ++looks) {
      if (aborted_) fail_internal("stopped while waiting for the other ranks ({})", what);
      if (looks < 1000) continue;
      ask_watch();
      ncclResult_t state = ncclSuccess;
      check(ncclCommGetAsyncError(working(), &state), what);
      check(state, what);
      const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
      if (waited.count() > patience()) {
        fail_internal("waited {:.0f} s for the other ranks in vain ({})", patience(), what);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  std::byte* stage(std::size_t bytes) {
    if (bytes > staging_bytes_) {
      cudaFree(staging_);
      staging_ = nullptr;
      staging_bytes_ = 0;
      void* memory = nullptr;
      MEMENGINE_CUDA_CHECK(cudaMalloc(&memory, bytes));
      staging_ = static_cast<std::byte*>(memory);
      staging_bytes_ = bytes;
    }
    return staging_;
  }

  int rank_, size_;
  ncclComm_t joined_ = nullptr;
  ncclComm_t comm_ = nullptr;  // a copy of it, or the same
  std::thread aborter_;
  cudaStream_t host_stream_ = nullptr;  // of gather_bytes()
  cudaEvent_t last_ = nullptr;          // after the last collective
  cudaEvent_t arrived_ = nullptr;
  cudaEvent_t recorded_ = nullptr;    // after the last collective of a graph that is recorded
  unsigned long long recording_ = 0;  // which graph that is
  void* met_ = nullptr;               // i32 of meet()
  std::optional<PeerMemory> memory_;
  std::mutex flags_lock_;
  std::vector<PeerFlags*> flags_;
  std::byte* staging_ = nullptr;
  std::size_t staging_bytes_ = 0;
  std::atomic<bool> aborted_ = false;
  bool left_ = false;
};

}  // namespace

bool nccl_is_built_in() {
  return true;
}

NcclId new_nccl_id() {
  set_up();
  ncclUniqueId unique;
  check(ncclGetUniqueId(&unique), "make an id");
  NcclId id;
  std::memcpy(id.data(), &unique, sizeof unique);
  return id;
}

std::unique_ptr<Communicator> nccl_communicator(int rank, int size, const NcclId& id) {
  return std::make_unique<NcclCommunicator>(rank, size, id);
}

}  // namespace memengine

#else

namespace memengine {
namespace {

[[noreturn]] void fail_without_nccl() {
  fail_input(
      "several ranks on GPUs need NCCL, which this build has not: install libnccl-dev (of the CUDA "
      "repository) and build again");
}

}  // namespace

bool nccl_is_built_in() {
  return false;
}

NcclId new_nccl_id() {
  fail_without_nccl();
}

std::unique_ptr<Communicator> nccl_communicator(int, int, const NcclId&) {
  fail_without_nccl();
}

}  // namespace memengine

#endif
