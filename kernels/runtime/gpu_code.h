// Which GPUs this program was compiled for, and whether one that is here is among them.
//
// The program holds machine code for some compute capabilities and, for some, PTX, from which the
// driver makes machine code when the program starts. Machine code of x.y runs on x.z with z >= y;
// PTX of x.y runs on everything from x.y on. (CUDA C++ Programming Guide, "Application
// Compatibility".) Capabilities are written as CMake writes them: 80 is 8.0, 120 is 12.0.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

struct GpuCode {
  int capability = 0;  // 10 * major + minor
  bool machine_code = false;
  bool ptx = false;
};

// From CMake's words: "86" both kinds, "86-real" machine code, "86-virtual" PTX, separated by ";".
std::vector<GpuCode> parse_gpu_code(std::string_view architectures);

// What this program holds; empty in a build without CUDA.
std::span<const GpuCode> gpu_code();

bool runs_on(std::span<const GpuCode> code, int capability);

// "8.0, 9.0 (with the Hopper kernels), PTX 12.0"; "none" for an empty list.
std::string describe_gpu_code(std::span<const GpuCode> code, bool with_hopper_kernels);
// Of this program; says so where it was compiled with MEMENGINE_QUICK_GPU_CODE, for tests alone.
std::string describe_gpu_code();

// Empty when the program can run on a GPU of this capability; else what both are and the CMake
// option that mends it.
std::string why_no_gpu_code(std::span<const GpuCode> code, std::string_view gpu, int capability);

}  // namespace memengine
