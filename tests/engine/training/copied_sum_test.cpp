// Sums over ranks by copies: ranks that are threads, on the processor, and, where there is a GPU,
// all on that one, where they wait for one another at words in its memory.
#include "engine/training/exchange/copied_sum.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/runtime/memory/arena.h"
#include "kernels/runtime/ranks/peers/peer_flags.h"
#include "kernels/runtime/runtime.h"
#include "kernels/runtime/step_graph.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

// Before CUDA starts: streams of several ranks must not stand in one another's way.
[[maybe_unused]] const int connections = ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);

// Threads whose streams are on one GPU.
class OnOneGpu : public Communicator {
 public:
  explicit OnOneGpu(Communicator& ranks) : ranks_(ranks) {}
  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  bool shares_memory() const override { return true; }
  std::vector<void*> peers(void* mine) override { return ranks_.peers(mine); }
  std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) override {
    return ranks_.gather_bytes(mine);
  }
  std::unique_ptr<Rendezvous> rendezvous() override {
    if constexpr (cuda_build) {
      return std::make_unique<PeerFlags>(rank(), size(),
                                         [this](void* mine) { return peers(mine); });
    } else {
      return ranks_.rendezvous();
    }
  }

 private:
  Communicator& ranks_;
};

class CopiedSums : public testing::TestWithParam<Device> {};

std::vector<Device> devices_of_copied_sums() {
  if (choose_device("auto") == Device::cuda) return {Device::cpu, Device::cuda};
  return {Device::cpu};
}

// What rank r has at place i in step `step`.
float number(int r, std::int64_t i, int step) {
  return 0.1F * static_cast<float>(i % 89) + 1e-6F * static_cast<float>((r + 1) * (step + 2));
}

TEST_P(CopiedSums, AreThoseInTheOrderOfRanksStepAfterStep) {
  constexpr std::int64_t size = 3000;
  constexpr std::int64_t first = 1024;
  constexpr int steps = 6;
  for (const int count : {2, 3, 4}) {
    const auto body = [&](Communicator& threads) {
      const Device device = GetParam();
      OnOneGpu on_gpu(threads);
      Communicator& ranks = device == Device::cuda ? on_gpu : threads;
      Runtime runtime(device, &ranks);
      const Context& context = runtime.context();
      Arena memory(device, 1 << 20);
      const Tensor block = memory.allocate("test", DType::f32, {size});
      const Tensor fresh = memory.allocate("test", DType::f32, {size});
      const auto sums = CopiedSum::make(ranks, device, block, 4 * 700);
      ASSERT_NE(sums, nullptr);
      StepGraph graph;
      std::vector<float> mine(size);
      ranks.barrier();
      for (int step = 0; step < steps; ++step) {
        for (std::int64_t i = 0; i < size; ++i) {
          mine[static_cast<std::size_t>(i)] = number(ranks.rank(), i, step);
        }
        copy_bytes(context, fresh.data(), mine.data(), fresh.bytes());
        graph.run(context, true, [&] {
          copy_bytes(context, block.data(), fresh.data(), block.bytes());
          sums->sum(context, first, size - first);
          sums->sum(context, 64, first - 64);  // and 64 numbers stay as they are
          sums->end(context);
        });
        copy_bytes(context, mine.data(), block.data(), block.bytes());
        runtime.synchronize();
        for (std::int64_t i = 0; i < size; ++i) {
          double all = 0;
          for (int r = 0; r < count; ++r) all += static_cast<double>(number(r, i, step));
          const float expected = i < 64 ? number(ranks.rank(), i, step) : static_cast<float>(all);
          ASSERT_EQ(mine[static_cast<std::size_t>(i)], expected)
              << "number " << i << " in step " << step << " on rank " << ranks.rank();
        }
      }
      ranks.barrier();
    };
    // Processes do not share memory.
    if (mpi_ranks() == nullptr) on_ranks(count, body, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, CopiedSums, testing::ValuesIn(devices_of_copied_sums()),
                         [](const auto& info) {
                           return std::string(info.param == Device::cpu ? "cpu" : "cuda");
                         });

// A rank that waits for one that never comes goes on when waits are opened.
TEST(PeerFlags, OpenedWaitsEnd) {
  if constexpr (cuda_build) {
    if (choose_device("auto") != Device::cuda) GTEST_SKIP() << "no GPU here";
    Runtime runtime(Device::cuda);
    Arena other(Device::cuda, 1 << 20);
    const Tensor words = other.allocate("test", DType::i32, {64});
    PeerFlags flags(0, 2, [&](void* mine) { return std::vector<void*>{mine, words.data()}; });
    flags.meet(runtime.context(), 0);
    flags.meet(runtime.context(), 1);
    flags.open();
    runtime.synchronize();  // or this test does not end
  } else {
    GTEST_SKIP() << "a build without CUDA";
  }
}

}  // namespace
}  // namespace memengine
