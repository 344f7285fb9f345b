// A seed for inputs that are other ones in every run. A test that fails says it in a line that
// begins as gtest's names of failed tests do, so that whoever keeps these keeps it;
// MEMENGINE_TEST_SEED=<seed> draws the same inputs again.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace memengine {

// Lives as long as the test.
class FreshSeed {
 public:
  FreshSeed() : value(chosen()) {}
  ~FreshSeed() {
    if (!testing::Test::HasFailure()) return;
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    std::cout << "[  FAILED  ] ";
    if (test != nullptr) std::cout << test->test_suite_name() << '.' << test->name() << ": ";
    std::cout << "its inputs are those of MEMENGINE_TEST_SEED=" << value << std::endl;
  }
  FreshSeed(const FreshSeed&) = delete;
  FreshSeed& operator=(const FreshSeed&) = delete;

  const std::uint64_t value;

 private:
  static std::uint64_t chosen() {
    const char* wanted = std::getenv("MEMENGINE_TEST_SEED");
    return wanted != nullptr ? std::stoull(wanted) : std::random_device{}();
  }
};

}  // namespace memengine
