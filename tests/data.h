// Where the tests find real texts, tokenizers and checkpoints.
//
// They are not part of the repository. A test that needs them calls MEMENGINE_REQUIRE_DATA and is
// skipped, with a word saying why, where they are absent.
#pragma once

#include <cstdlib>
#include <filesystem>

// The data folder: $MEMENGINE_DATA, or ../shared/data beside the checkout; empty when absent.
inline std::filesystem::path test_data_folder() {
  if (const char* named = std::getenv("MEMENGINE_DATA")) return named;
  const std::filesystem::path beside = "../shared/data";
  return std::filesystem::exists(beside) ? std::filesystem::absolute(beside)
                                         : std::filesystem::path();
}

#define MEMENGINE_REQUIRE_DATA()  \
  if (test_data_folder().empty()) \
  GTEST_SKIP() << "needs the real data: set MEMENGINE_DATA to its folder"
