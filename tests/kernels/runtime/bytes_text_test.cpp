// Numbers of bytes in words.
#include "kernels/runtime/memory/bytes_text.h"

#include <gtest/gtest.h>

namespace memengine {
namespace {

TEST(BytesText, TakesTheLargestUnitThatFits) {
  EXPECT_EQ(bytes_text(0), "0 bytes");
  EXPECT_EQ(bytes_text(1023), "1023 bytes");
  EXPECT_EQ(bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(bytes_text((1 << 20) - 1), "1024.0 KiB");
  EXPECT_EQ(bytes_text(std::int64_t{3} << 19), "1.5 MiB");
  EXPECT_EQ(bytes_text(std::int64_t{93} << 30), "93.00 GiB");
}

}  // namespace
}  // namespace memengine
