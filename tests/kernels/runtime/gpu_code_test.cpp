// Which program runs on which GPU, by CUDA's rules of compatibility.
#include "kernels/runtime/gpu_code.h"

#include <gtest/gtest.h>

#include "kernels/runtime/context.h"

namespace memengine {
namespace {

TEST(GpuCode, MachineCodeRunsOnLaterChipsOfItsGeneration) {
  const auto code = parse_gpu_code("80-real;90-real");
  for (const int capability : {80, 86, 87, 89, 90}) EXPECT_TRUE(runs_on(code, capability));
  for (const int capability : {70, 75, 100, 120}) EXPECT_FALSE(runs_on(code, capability));
  EXPECT_FALSE(runs_on(parse_gpu_code("86-real"), 80));
}

TEST(GpuCode, PtxRunsOnEverythingFromItsCapabilityOn) {
  const auto code = parse_gpu_code("80-virtual");
  for (const int capability : {80, 86, 90, 100, 120, 130}) EXPECT_TRUE(runs_on(code, capability));
  EXPECT_FALSE(runs_on(code, 75));
}

TEST(GpuCode, APlainNumberIsBothKinds) {
  const auto code = parse_gpu_code("90");
  EXPECT_TRUE(runs_on(code, 90));
  EXPECT_TRUE(runs_on(code, 120));
  EXPECT_FALSE(runs_on(code, 89));
}

TEST(GpuCode, IsDescribed) {
  EXPECT_EQ(describe_gpu_code(parse_gpu_code("80-real;90-real;120-virtual"), true),
            "8.0, 9.0 (with the Hopper kernels), PTX 12.0");
  EXPECT_EQ(describe_gpu_code(parse_gpu_code("80-virtual"), false), "PTX 8.0");
  EXPECT_EQ(describe_gpu_code({}, false), "none");
}

TEST(GpuCode, ARefusalNamesBothAndTheOption) {
  const auto code = parse_gpu_code("90-real");
  EXPECT_EQ(why_no_gpu_code(code, "NVIDIA H100", 90), "");
  const std::string refusal = why_no_gpu_code(code, "NVIDIA GeForce RTX 4090", 89);
  for (const char* part : {"RTX 4090", "8.9", "9.0", "-DCMAKE_CUDA_ARCHITECTURES=89"}) {
    EXPECT_NE(refusal.find(part), std::string::npos) << refusal;
  }
  EXPECT_NE(why_no_gpu_code(parse_gpu_code("75"), "Tesla T4", 75).find("8.0 (Ampere)"),
            std::string::npos);
}

TEST(GpuCode, ThisProgramHoldsWhatWasAskedFor) {
  EXPECT_EQ(gpu_code().empty(), !cuda_build);
  EXPECT_EQ(describe_gpu_code() == "none", !cuda_build);
}

}  // namespace
}  // namespace memengine
