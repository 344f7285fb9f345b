// CMake tells this one file what was compiled, and how (MEMENGINE_CUDA_ARCHITECTURES,
// MEMENGINE_QUICK_GPU_CODE).
#include "kernels/runtime/gpu_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#ifndef MEMENGINE_CUDA_ARCHITECTURES
#define MEMENGINE_CUDA_ARCHITECTURES ""
#endif
#ifndef MEMENGINE_QUICK_GPU_CODE
#define MEMENGINE_QUICK_GPU_CODE 0
#endif

namespace memengine {
namespace {

std::string version(int capability) {
  return fmt::format("{}.{}", capability / 10, capability % 10);
}

}  // namespace

std::vector<GpuCode> parse_gpu_code(std::string_view architectures) {
  std::vector<GpuCode> code;
  while (!architectures.empty()) {
    const std::string_view word = architectures.substr(0, architectures.find(';'));
    architectures.remove_prefix(std::min(word.size() + 1, architectures.size()));
    GpuCode one;
    std::from_chars(word.data(), word.data() + word.size(), one.capability);
    if (one.capability == 0) continue;
    one.machine_code = !word.ends_with("-virtual");
    one.ptx = !word.ends_with("-real");
    code.push_back(one);
  }
  return code;
}

std::span<const GpuCode> gpu_code() {
  static const std::vector<GpuCode> code = parse_gpu_code(MEMENGINE_CUDA_ARCHITECTURES);
  return code;
}

bool runs_on(std::span<const GpuCode> code, int capability) {
  return std::any_of(code.begin(), code.end(), [&](const GpuCode& one) {
    if (one.capability > capability) return false;
    return one.ptx || (one.machine_code && one.capability / 10 == capability / 10);
  });
}

std::string describe_gpu_code(std::span<const GpuCode> code, bool with_hopper_kernels) {
  std::vector<std::string> words;
  for (const GpuCode& one : code) {
    if (!one.machine_code) continue;
    const bool hopper = one.capability == 90 && with_hopper_kernels;
    words.push_back(version(one.capability) + (hopper ? " (with the Hopper kernels)" : ""));
  }
  for (const GpuCode& one : code) {
    if (one.ptx) words.push_back("PTX " + version(one.capability));
  }
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

std::string describe_gpu_code() {
  const std::string code = describe_gpu_code(gpu_code(), MEMENGINE_HAS_HOPPER);
  return MEMENGINE_QUICK_GPU_CODE ? code + "; compiled quickly, runs slowly" : code;
}

std::string why_no_gpu_code(std::span<const GpuCode> code, std::string_view gpu, int capability) {
  if (capability < 80) {
    return fmt::format(
        "the GPU here, {}, has compute capability {}, and memengine needs 8.0 (Ampere) or newer",
        gpu, version(capability));
  }
  if (runs_on(code, capability)) return "";
  return fmt::format(
      "the GPU here, {}, has compute capability {}, and this program holds code for {}: build it "
      "again with -DCMAKE_CUDA_ARCHITECTURES={}",
      gpu, version(capability), describe_gpu_code(code, false), capability);
}

}  // namespace memengine
