// Everything is made of one thing: messages that are all under way at once, and a wait for them.
#include "kernels/runtime/ranks/mpi_communicator.h"

#include "kernels/runtime/error.h"

#if MEMENGINE_HAS_MPI
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

namespace memengine {
namespace {

// A message's count is an int.
constexpr std::int64_t longest_message = std::int64_t{1} << 30;
// Elements that are added up at once: what a sum's working memory is.
constexpr std::int64_t summed_at_once = std::int64_t{1} << 18;

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator() {
    int provided = 0;
    int started = 0;
    MPI_Initialized(&started);
    if (started == 0) {
      check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "start");
      owner_ = true;
    }
    // From now on a failure is a code, not the end of the process.
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check(MPI_Comm_dup(MPI_COMM_WORLD, &world_), "start");
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(world_, &rank_);
    MPI_Comm_size(world_, &size_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(const Context& context, Tensor values) override {
    need_cpu(context);
    switch (values.dtype()) {
      case DType::f32:
        return sum_pieces<float, double>(values.as<float>(), values.size());
      case DType::f64:
        return sum_pieces<double, double>(values.as<double>(), values.size());
      case DType::i32:
        return sum_pieces<std::int32_t, std::int32_t>(values.as<std::int32_t>(), values.size());
      default:
        fail_internal("a sum over ranks of {}", dtype_name(values.dtype()));
    }
  }

  void all_gather(const Context& context, Tensor all, Tensor mine) override {
    need_cpu(context);
    gather_to(static_cast<std::byte*>(all.data()), static_cast<const std::byte*>(mine.data()),
              mine.bytes());
  }

  void all_to_all(const Context& context, void* received,
                  std::span<const std::int64_t> received_bytes, const void* sent,
                  std::span<const std::int64_t> sent_bytes) override {
    need_cpu(context);
    begin("exchange");
    auto* to = static_cast<std::byte*>(received);
    const auto* from = static_cast<const std::byte*>(sent);
    for (int r = 0; r < size_; ++r) {
      const std::int64_t in = received_bytes[static_cast<std::size_t>(r)];
      const std::int64_t out = sent_bytes[static_cast<std::size_t>(r)];
      if (r == rank_) {
        if (in != out) fail_internal("a rank sends itself {} bytes and expects {}", out, in);
        if (in > 0) std::memcpy(to, from, static_cast<std::size_t>(in));
      } else {
        receive(to, in, r);
        send(from, out, r);
      }
      to += in;
      from += out;
    }
    wait();
  }

  void broadcast(const Context& context, Tensor values, int root) override {
    need_cpu(context);
    begin("broadcast");
    auto* data = static_cast<std::byte*>(values.data());
    if (rank_ != root) receive(data, values.bytes(), root);
    for (int r = 0; r < size_ && rank_ == root; ++r) {
      if (r != root) send(data, values.bytes(), r);
    }
    wait();
  }

  std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) override {
    std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(size_));
    gather_to(all.data(), mine.data(), static_cast<std::int64_t>(mine.size()));
    return all;
  }

  void abort() noexcept override { aborted_ = true; }

  void leave() override {
    if (left_ || aborted_) return;
    barrier();
    left_ = true;
    MPI_Comm_free(&world_);
    if (owner_) MPI_Finalize();
  }

 private:
  static void need_cpu(const Context& context) {
    if (context.on_cuda()) fail_internal("MPI joins ranks on CPUs, not on GPUs");
  }

  void check(int status, const char* what) const {
    if (status == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = {};
    int length = 0;
    MPI_Error_string(status, text, &length);
    fail_internal("MPI could not {}: {}", what, text);
  }

  // --- Messages of one call. Calls are numbered, so that ranks that have lost step with one
  // another wait in vain instead of taking one thing for another.

  void begin(const char* what) {
    if (aborted_ || left_) fail_internal("the ranks have parted: no {} any more", what);
    what_ = what;
    tag_ = (tag_ + 1) & 0x3fff;
    requests_.clear();
    peers_.clear();
  }
  void send(const std::byte* data, std::int64_t bytes, int to) {
    for (std::int64_t first = 0; first < bytes; first += longest_message) {
      const auto count = static_cast<int>(std::min(longest_message, bytes - first));
      check(MPI_Isend(data + first, count, MPI_BYTE, to, tag_, world_, add(to)), "send");
    }
  }
  void receive(std::byte* data, std::int64_t bytes, int from) {
    for (std::int64_t first = 0; first < bytes; first += longest_message) {
      const auto count = static_cast<int>(std::min(longest_message, bytes - first));
      check(MPI_Irecv(data + first, count, MPI_BYTE, from, tag_, world_, add(from)), "receive");
    }
  }
  MPI_Request* add(int peer) {
    peers_.push_back(peer);
    return &requests_.emplace_back(MPI_REQUEST_NULL);
  }

  void wait() {
    try {
      wait_for_all();
    } catch (...) {
      // Nothing may come any more into memory that the caller gives up. What is on its way to
      // others is left as it is.
      aborted_ = true;
      for (MPI_Request& request : requests_) {
        if (request != MPI_REQUEST_NULL) MPI_Cancel(&request);
      }
      throw;
    }
  }
  // Looks often at first, then sleeps between looks: 20 us at first, 1 ms at most.
  void wait_for_all() {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    std::chrono::microseconds pause(20);
    for (int looks = 0;; ++looks) {
      int done = 0;
      check(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                        MPI_STATUSES_IGNORE),
            what_);
      if (done != 0) return;
      if (aborted_) fail_internal("stopped while waiting for {}", waited_for());
      if (looks < 50) {
        std::this_thread::yield();
        continue;
      }
      ask_watch();
      if (std::chrono::duration<double>(Clock::now() - begin).count() > patience()) {
        fail_internal("waited {:.0f} s for {} in vain: is it still running?", patience(),
                      waited_for());
      }
      std::this_thread::sleep_for(pause);
      pause = std::min(pause * 2, std::chrono::microseconds(1000));
    }
  }
  std::string waited_for() const {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL) return fmt::format("rank {} ({})", peers_[i], what_);
    }
    return what_;
  }

  void gather_to(std::byte* all, const std::byte* mine, std::int64_t bytes) {
    begin("gather");
    for (int r = 0; r < size_; ++r) {
      std::byte* to = all + r * bytes;
      if (r == rank_) {
        if (to != mine) std::memcpy(to, mine, static_cast<std::size_t>(bytes));
        continue;
      }
      receive(to, bytes, r);
      send(mine, bytes, r);
    }
    wait();
  }

  // --- Sums. Rank r adds up part r of a piece, then everybody gets all parts.

  template <typename T, typename Total>
  void sum_pieces(T* values, std::int64_t count) {
    for (std::int64_t first = 0; first < count; first += summed_at_once) {
      sum_piece<T, Total>(values + first, std::min(summed_at_once, count - first));
    }
  }

  template <typename T, typename Total>
  void sum_piece(T* values, std::int64_t count) {
    const auto part_begin = [&](int r) { return count * r / size_; };
    const auto part_bytes = [&](int r) {
      return (part_begin(r + 1) - part_begin(r)) * static_cast<std::int64_t>(sizeof(T));
    };
    const auto bytes_at = [&](int r) {
      return reinterpret_cast<std::byte*>(values + part_begin(r));
    };
    const std::int64_t mine = part_begin(rank_ + 1) - part_begin(rank_);
    parts_.resize(static_cast<std::size_t>(size_ * part_bytes(rank_)));
    auto* parts = reinterpret_cast<T*>(parts_.data());
    begin("sum");
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) {
        std::copy_n(values + part_begin(r), mine, parts + r * mine);
        continue;
      }
      receive(reinterpret_cast<std::byte*>(parts + r * mine), part_bytes(rank_), r);
      send(bytes_at(r), part_bytes(r), r);
    }
    wait();
    T* sums = values + part_begin(rank_);
    for (std::int64_t i = 0; i < mine; ++i) {
      Total total = static_cast<Total>(parts[i]);
      for (int r = 1; r < size_; ++r) total += static_cast<Total>(parts[r * mine + i]);
      sums[i] = static_cast<T>(total);
    }
    begin("sum");
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) continue;
      receive(bytes_at(r), part_bytes(r), r);
      send(bytes_at(rank_), part_bytes(rank_), r);
    }
    wait();
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int tag_ = 0;
  const char* what_ = "";
  std::vector<MPI_Request> requests_;
  std::vector<int> peers_;        // of each request
  std::vector<std::byte> parts_;  // of a sum
  std::atomic<bool> aborted_ = false;
  bool left_ = false;
  bool owner_ = false;  // of MPI: it was started here
};

}  // namespace

bool mpi_is_built_in() {
  return true;
}

std::unique_ptr<Communicator> mpi_communicator() {
  return std::make_unique<MpiCommunicator>();
}

}  // namespace memengine

#else

namespace memengine {

bool mpi_is_built_in() {
  return false;
}

std::unique_ptr<Communicator> mpi_communicator() {
  fail_input(
      "several ranks on CPUs need MPI, which this build has not: install libopenmpi-dev and build "
      "again");
}

}  // namespace memengine

#endif
