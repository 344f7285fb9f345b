// Several ranks in a test: threads of this process that exchange through shared memory, or, where
// mpirun started the test program, its processes.
#pragma once

#include <atomic>
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/mpi_communicator.h"

namespace memengine {

// What the threads of one group share.
class ThreadRanks {
 public:
  explicit ThreadRanks(int size)
      : size_(size), barrier_(size), posted_(static_cast<std::size_t>(size)) {}

  // A call of one rank: what it has for each, and where that of each shall go.
  struct Post {
    std::vector<std::pair<const std::byte*, std::int64_t>> for_rank;
  };

  // Everybody posts, then takes; `take` sees all posts.
  template <typename Take>
  void exchange(int rank, Post post, Take&& take) {
    posted_[static_cast<std::size_t>(rank)] = std::move(post);
    meet();
    take(posted_);
    meet();
  }

  // A rank that fails lets the others go on, to fail too.
  void drop() {
    failed_ = true;
    barrier_.arrive_and_drop();
  }
  int size() const { return size_; }

 private:
  void meet() {
    if (failed_) fail_internal("another rank has failed");
    barrier_.arrive_and_wait();
    if (failed_) fail_internal("another rank has failed");
  }

  int size_;
  std::atomic<bool> failed_ = false;
  std::barrier<> barrier_;
  std::vector<Post> posted_;
};

class ThreadCommunicator : public Communicator {
 public:
  // Ranks that share memory read one another's; else they send.
  ThreadCommunicator(ThreadRanks& ranks, int rank, bool shares_memory)
      : ranks_(ranks), rank_(rank), shares_memory_(shares_memory) {}

  bool shares_memory() const override { return shares_memory_; }
  std::vector<void*> peers(void* mine) override { return gather(mine); }
  void meet(const Context&) override { barrier(); }

  int rank() const override { return rank_; }
  int size() const override { return ranks_.size(); }

  void all_reduce_sum(const Context&, Tensor values) override {
    switch (values.dtype()) {
      case DType::f32:
        return sum_in_order<float, double>(values);
      case DType::f64:
        return sum_in_order<double, double>(values);
      default:
        return sum_in_order<std::int32_t, std::int32_t>(values);
    }
  }
  void all_gather(const Context&, Tensor all, Tensor mine) override {
    const std::vector<std::byte> bytes = gather_bytes(
        {static_cast<const std::byte*>(mine.data()), static_cast<std::size_t>(mine.bytes())});
    std::memcpy(all.data(), bytes.data(), bytes.size());
  }
  void all_to_all(const Context&, void* received, std::span<const std::int64_t> received_bytes,
                  const void* sent, std::span<const std::int64_t> sent_bytes) override {
    ThreadRanks::Post post;
    const auto* from = static_cast<const std::byte*>(sent);
    for (const std::int64_t bytes : sent_bytes) {
      post.for_rank.emplace_back(from, bytes);
      from += bytes;
    }
    ranks_.exchange(rank_, std::move(post), [&](const std::vector<ThreadRanks::Post>& posts) {
      auto* to = static_cast<std::byte*>(received);
      for (std::size_t r = 0; r < posts.size(); ++r) {
        const auto [data, bytes] = posts[r].for_rank[static_cast<std::size_t>(rank_)];
        if (bytes != received_bytes[r]) {
          fail_internal("rank {} sends {} bytes where {} are expected", r, bytes,
                        received_bytes[r]);
        }
        if (bytes > 0) std::memcpy(to, data, static_cast<std::size_t>(bytes));
        to += bytes;
      }
    });
  }
  void broadcast(const Context& context, Tensor values, int root) override {
    std::vector<std::int64_t> in(static_cast<std::size_t>(size())), out = in;
    in[static_cast<std::size_t>(root)] = values.bytes();
    if (rank_ == root) std::fill(out.begin(), out.end(), 0);
    std::vector<std::byte> all, copy(static_cast<std::size_t>(values.bytes()));
    if (rank_ == root) {
      for (int r = 0; r < size(); ++r) {
        const auto* data = static_cast<const std::byte*>(values.data());
        all.insert(all.end(), data, data + values.bytes());
        out[static_cast<std::size_t>(r)] = values.bytes();
      }
    }
    all_to_all(context, copy.data(), in, all.data(), out);
    std::memcpy(values.data(), copy.data(), copy.size());
  }
  std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) override {
    std::vector<std::byte> all;
    ThreadRanks::Post post;
    post.for_rank.assign(1, {mine.data(), static_cast<std::int64_t>(mine.size())});
    ranks_.exchange(rank_, std::move(post), [&](const std::vector<ThreadRanks::Post>& posts) {
      for (const ThreadRanks::Post& of_rank : posts) {
        const auto [data, bytes] = of_rank.for_rank.front();
        all.insert(all.end(), data, data + bytes);
      }
    });
    return all;
  }

 private:
  template <typename T, typename Total>
  void sum_in_order(Tensor values) {
    const std::vector<std::byte> bytes = gather_bytes(
        {static_cast<const std::byte*>(values.data()), static_cast<std::size_t>(values.bytes())});
    const auto* all = reinterpret_cast<const T*>(bytes.data());
    const std::int64_t count = values.size();
    for (std::int64_t i = 0; i < count; ++i) {
      Total total{};
      for (int r = 0; r < size(); ++r) total += static_cast<Total>(all[r * count + i]);
      values.as<T>()[i] = static_cast<T>(total);
    }
  }

  ThreadRanks& ranks_;
  int rank_;
  bool shares_memory_;
};

// The processes of mpirun; null when it did not start this program.
inline Communicator* mpi_ranks() {
  struct Joined {
    std::unique_ptr<Communicator> ranks;
    Joined() {
      const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
      if (size != nullptr && std::atoi(size) > 1) ranks = mpi_communicator();
    }
    ~Joined() {
      if (ranks) ranks->leave();
    }
  };
  static Joined joined;
  return joined.ranks.get();
}

// Calls body(communicator) on each of `size` ranks and returns when all are done; what a rank
// throws is thrown here. False, and nothing done, where mpirun started another number of processes.
// Threads share memory where that is asked for; processes do not.
inline bool on_ranks(int size, const std::function<void(Communicator&)>& body,
                     bool shares_memory = false) {
  if (Communicator* processes = mpi_ranks()) {
    if (processes->size() != size) return false;
    body(*processes);
    return true;
  }
  ThreadRanks ranks(size);
  std::mutex lock;
  std::exception_ptr first;
  const auto run = [&](int rank) {
    ThreadCommunicator communicator(ranks, rank, shares_memory);
    try {
      body(communicator);
    } catch (...) {
      {
        const std::lock_guard guard(lock);
        if (!first) first = std::current_exception();
      }
      ranks.drop();
    }
  };
  std::vector<std::thread> others;
  for (int rank = 1; rank < size; ++rank) others.emplace_back(run, rank);
  run(0);
  for (std::thread& other : others) other.join();
  if (first) std::rethrow_exception(first);
  return true;
}

}  // namespace memengine
