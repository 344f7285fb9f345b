// A graph replays what its body enqueues, on memory as it is at the replay; on the CPU the body is
// simply run. The same cases on every device.
#include "kernels/runtime/step_graph.h"

#include <gtest/gtest.h>

#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

class StepGraphs : public testing::TestWithParam<Device> {
 protected:
  StepGraphs()
      : runtime_(GetParam()),
        arena_(GetParam(), 1024),
        from_(arena_.allocate("a", DType::f64, {1})),
        to_(arena_.allocate("b", DType::f64, {1})) {}

  void write(const Tensor& tensor, double number) {
    copy_bytes(runtime_.context(), tensor.data(), &number, sizeof number);
    runtime_.synchronize();
  }
  double read(const Tensor& tensor) {
    double number = 0;
    copy_bytes(runtime_.context(), &number, tensor.data(), sizeof number);
    runtime_.synchronize();
    return number;
  }

  Runtime runtime_;
  Arena arena_;
  Tensor from_, to_;
};

TEST_P(StepGraphs, EveryRunDoesTheWorkOnceMore) {
  for (const bool enabled : {true, false}) {
    StepGraph graph;
    int bodies = 0;
    for (int run = 1; run <= 5; ++run) {
      write(from_, run);
      write(to_, -1);
      graph.run(runtime_.context(), enabled, [&] {
        ++bodies;
        copy_bytes(runtime_.context(), to_.data(), from_.data(), to_.bytes());
      });
      runtime_.synchronize();
      EXPECT_EQ(read(to_), run) << "run " << run << ", enabled " << enabled;
    }
    // On a GPU: once plainly, once to record.
    EXPECT_EQ(bodies, GetParam() == Device::cuda && enabled ? 2 : 5);
  }
}

TEST_P(StepGraphs, WorkOnTheOtherStreamsBelongsToTheRecording) {
  StepGraph graph;
  for (int run = 1; run <= 4; ++run) {
    write(from_, run);
    graph.run(runtime_.context(), true, [&] {
      wait_for(runtime_.side(), runtime_.context());
      copy_bytes(runtime_.side(), to_.data(), from_.data(), to_.bytes());
      wait_for(runtime_.context(), runtime_.side());
      fill_zero(runtime_.context(), from_);
    });
    EXPECT_EQ(read(to_), run);
    EXPECT_EQ(read(from_), 0) << "before the copy was done";
  }
}

TEST_P(StepGraphs, AMarkerWaitsForWhatCameBeforeIt) {
  StreamMarker marker;
  marker.wait();  // nothing was marked
  write(from_, 3);
  copy_bytes(runtime_.context(), to_.data(), from_.data(), to_.bytes());
  marker.record(runtime_.context());
  marker.wait();
  EXPECT_EQ(read(to_), 3);
  StreamMarker later;
  later.record(runtime_.context());
  EXPECT_GE(marker.seconds_until(later), 0);
}

// Two products at once in one workspace would overwrite each other's partial sums.
TEST_P(StepGraphs, OnlyTheMainStreamHasTheProductsWorkspace) {
  EXPECT_EQ(runtime_.context().gemm_workspace.empty(), GetParam() == Device::cpu);
  EXPECT_TRUE(runtime_.side().gemm_workspace.empty());
  EXPECT_TRUE(runtime_.link().gemm_workspace.empty());
}

std::vector<Device> devices() {
  if (choose_device("auto") == Device::cuda) return {Device::cpu, Device::cuda};
  return {Device::cpu};
}

INSTANTIATE_TEST_SUITE_P(Devices, StepGraphs, testing::ValuesIn(devices()), [](const auto& info) {
  return info.param == Device::cpu ? "cpu" : "cuda";
});

}  // namespace
}  // namespace memengine
