// Every head width has tiles that fit into a block's shared memory on every chip.
#include "kernels/attention/tile_plan.h"

#include <gtest/gtest.h>

namespace memengine {
namespace {

constexpr int widths[] = {8, 16, 32, 64, 96, 128};
constexpr int limits[] = {large_shared_memory, medium_shared_memory, small_shared_memory};

TEST(AttentionTilePlan, FitsOnEveryChip) {
  for (const int bytes : {2, 4}) {
    for (const int width : widths) {
      for (const int limit : limits) {
        SCOPED_TRACE(testing::Message() << bytes << " bytes, width " << width << ", " << limit);
        const AttentionTiles forward = forward_tiles(bytes, width, limit);
        ASSERT_GT(forward.warps, 0);
        EXPECT_LE(forward_shared_bytes(bytes, width, forward), limit);
        const AttentionTiles backward = backward_tiles(bytes, width, limit);
        ASSERT_GT(backward.warps, 0);
        EXPECT_LE(backward_shared_bytes(bytes, width, backward), limit);
      }
    }
  }
}

TEST(AttentionTilePlan, MoreSharedMemoryNeverMeansSmallerTiles) {
  for (const int bytes : {2, 4}) {
    for (const int width : widths) {
      for (int i = 1; i < 3; ++i) {
        const AttentionTiles more = backward_tiles(bytes, width, limits[i - 1]);
        const AttentionTiles less = backward_tiles(bytes, width, limits[i]);
        EXPECT_GE(more.warps * more.streamed, less.warps * less.streamed);
        EXPECT_GE(forward_tiles(bytes, width, limits[i - 1]).streamed,
                  forward_tiles(bytes, width, limits[i]).streamed);
      }
    }
  }
}

// The numbers by hand, for the widest FP32 head: rows of 128 * 4 + 16 = 528 bytes.
TEST(AttentionTilePlan, CountsBytes) {
  EXPECT_EQ(forward_shared_bytes(4, 128, {4, 64}), (4 * 64 + 4 * 16) * 528);
  EXPECT_EQ(backward_shared_bytes(4, 128, {4, 64}), (4 * 64 + 2 * 4 * 16) * 528 + 2 * 64 * 12);
  EXPECT_EQ(forward_tiles(4, 128, large_shared_memory).streamed, 64);
  EXPECT_EQ(forward_tiles(4, 128, medium_shared_memory).streamed, 32);
  EXPECT_EQ(backward_tiles(4, 128, small_shared_memory).warps, 2);
}

}  // namespace
}  // namespace memengine
