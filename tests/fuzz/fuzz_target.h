// What a fuzz target is: one file tests/fuzz/<room>/<name>.cpp that defines the two functions
// below.
//
// It is built in two ways. With clang and -DMEMENGINE_FUZZ=ON it is a libFuzzer program that first
// puts the seeds into its corpus folder; in every other build it is a short regression test,
// `fuzz.<name>`: each seed, then some thousands of mutations of them by a generator of fixed seed.
//
//   CXX=clang++ cmake -S . -B build-fuzz -G Ninja -DMEMENGINE_FUZZ=ON -DMEMENGINE_CUDA=OFF
//   ninja -C build-fuzz fuzz_json_lines
//   mkdir corpus && build-fuzz/fuzz_json_lines corpus -max_total_time=600
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/runtime/error.h"

// Good and nearly good inputs to start from, and every input that was once a finding.
std::vector<std::string> fuzz_seeds();

// Gives untrusted bytes to the code under test; returns 0. A crash, a sanitizer's report, an
// exception that leaves it and a failed fuzz_check are findings.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

// Ends the process with this message unless `good`.
inline void fuzz_check(bool good, const char* message) {
  if (good) return;
  std::fprintf(stderr, "fuzz: %s\n", message);
  std::abort();
}

// Calls `function`, which may do its work or refuse the input in one line; true when it did not
// refuse. Anything else that it throws is a finding.
template <typename Function>
bool fuzz_accepts(Function function) {
  try {
    function();
  } catch (const memengine::Error& error) {
    fuzz_check(error.kind() == memengine::Error::Kind::input, error.what());
    fuzz_check(std::strchr(error.what(), '\n') == nullptr, "an error message of several lines");
    return false;
  } catch (const std::filesystem::filesystem_error&) {
    return false;  // a path and the system's reason, which the program says in one line
  }
  return true;
}

inline std::string_view fuzz_text(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}
