// Every kernel can be launched on every GPU from Ampere on: checked in the sources, without a GPU.
//
// - Registers: a block has 65,536 on every chip. __launch_bounds__ tells the compiler how many
//   threads share them, and it spills rather than use more; without the bound it counts on no more
//   than 256 threads by luck. So every kernel has to state its bound.
// - Shared memory of fixed size: the compiler refuses more than 48 KiB for any chip.
// - Shared memory whose size the launch gives (`extern __shared__`) may be 227, 163 or 99 KiB,
//   depending on the chip: only kernels that choose their tiles by the chip's limit may use it
//   (kernels/attention/tile_plan.h, whose own test goes through all chips), or those that are
//   compiled for Hopper alone and ask for the limit before they are launched.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

namespace memengine {
namespace {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // from the root of the sources
  std::string text;
};

std::vector<Source> cuda_sources() {
  const fs::path root = MEMENGINE_SOURCE_DIR;
  std::vector<Source> sources;
  for (const char* room : {"kernels", "optim", "engine"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / room)) {
      const fs::path extension = entry.path().extension();
      if (extension != ".cu" && extension != ".cuh") continue;
      std::ifstream file(entry.path());
      sources.push_back({fs::relative(entry.path(), root).generic_string(),
                         {std::istreambuf_iterator<char>(file), {}}});
    }
  }
  return sources;
}

std::size_t line_of(const std::string& text, std::size_t at) {
  return 1 + static_cast<std::size_t>(std::count(text.begin(), text.begin() + at, '\n'));
}

TEST(LaunchLimits, EveryKernelStatesHowManyThreadsShareTheRegisters) {
  int kernels = 0;
  for (const Source& source : cuda_sources()) {
    const std::string mark = "__global__ void";
    for (std::size_t at = source.text.find("__global__"); at != std::string::npos;
         at = source.text.find("__global__", at + 1)) {
      ++kernels;
      EXPECT_EQ(source.text.substr(at, mark.size()), mark);
      const std::size_t next = source.text.find_first_not_of(" \n", at + mark.size());
      EXPECT_EQ(source.text.find("__launch_bounds__(", next), next)
          << source.path << ":" << line_of(source.text, at) << ": a kernel without a bound";
    }
  }
  EXPECT_GT(kernels, 70);
}

TEST(LaunchLimits, OnlyKernelsThatAskForTheChipsLimitSizeSharedMemoryAtLaunch) {
  const std::set<std::string> by_the_tile_plan = {"kernels/attention/forward.cuh",
                                                  "kernels/attention/backward.cuh"};
  std::set<std::string> seen;
  for (const Source& source : cuda_sources()) {
    if (source.text.find("extern __shared__") == std::string::npos) continue;
    if (source.path.find("/hopper/") != std::string::npos) continue;
    seen.insert(source.path);
    EXPECT_TRUE(by_the_tile_plan.contains(source.path))
        << source.path << ": plan the size for every chip first, and test the plan";
  }
  EXPECT_EQ(seen, by_the_tile_plan);
}

}  // namespace
}  // namespace memengine
