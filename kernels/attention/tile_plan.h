// How large the attention kernels' tiles are: what fits into a block's shared memory.
//
// Chips differ in what one block may have: 227 KiB on 9.0 and 10.0, 163 KiB on 8.0, 99 KiB on 8.6,
// 8.9 and 12.0. Wide heads need a smaller tile there. The kernels in forward.cuh and backward.cuh
// are templates over the tiles, and the launchers take the first of a list that fits, so every chip
// runs the largest it can. Plain constants, so that a test without a GPU checks every width on
// every chip (tests/kernels/attention/tile_plan_test.cpp).
#pragma once

#include <cstddef>

namespace memengine {

struct AttentionTiles {
  int warps;     // of a block; each owns 16 or 32 rows
  int streamed;  // rows of a tile that all warps walk over, two of which are in shared memory
};

inline constexpr int large_shared_memory = 227 << 10;   // bytes for one block: 9.0, 10.0
inline constexpr int medium_shared_memory = 163 << 10;  // 8.0
inline constexpr int small_shared_memory = 99 << 10;    // 8.6, 8.9, 12.0

// `bytes` is the size of an element (2 or 4), `width` the kernel's head width.

// Narrow heads: a warp can afford to keep 32 rows of its left operands in registers.
constexpr bool attention_is_narrow(int bytes, int width) {
  return width * bytes <= 128;
}
constexpr int attention_row_bytes(int bytes, int width) {
  return width * bytes + 16;
}

constexpr int forward_rows_per_warp(int bytes, int width) {
  return bytes == 2 || attention_is_narrow(bytes, width) ? 32 : 16;
}
constexpr int forward_shared_bytes(int bytes, int width, AttentionTiles tiles) {
  const int queries = attention_is_narrow(bytes, width)
                          ? 0  // in registers
                          : tiles.warps * forward_rows_per_warp(bytes, width);
  return (4 * tiles.streamed + queries) * attention_row_bytes(bytes, width);
}

constexpr int backward_rows_per_warp(int bytes, int width) {
  return attention_is_narrow(bytes, width) ? 32 : 16;
}
// Of the larger of the two kernels: the key and value gradient keeps three numbers with each
// streamed row, the query gradient 32 elements of padding.
constexpr int backward_shared_bytes(int bytes, int width, AttentionTiles tiles) {
  const int owned = 2 * tiles.warps * backward_rows_per_warp(bytes, width);
  const int rows = (4 * tiles.streamed + owned) * attention_row_bytes(bytes, width);
  const int beside_queries = 2 * tiles.streamed * 12;
  const int padding = 16 * bytes;
  return rows + (beside_queries > padding ? beside_queries : padding);
}

template <typename SharedBytes, std::size_t count>
constexpr AttentionTiles first_that_fits(const AttentionTiles (&choices)[count],
                                         SharedBytes shared_bytes, int limit) {
  for (const AttentionTiles& tiles : choices) {
    if (shared_bytes(tiles) <= limit) return tiles;
  }
  return {0, 0};
}

// What a chip of this limit runs; {0, 0} if nothing fits.
constexpr AttentionTiles forward_tiles(int bytes, int width, int limit) {
  constexpr AttentionTiles choices[] = {{4, 64}, {4, 32}};
  return first_that_fits(
      choices, [=](AttentionTiles tiles) { return forward_shared_bytes(bytes, width, tiles); },
      limit);
}
constexpr AttentionTiles backward_tiles(int bytes, int width, int limit) {
  constexpr AttentionTiles choices[] = {{4, 64}, {4, 32}, {4, 16}, {2, 16}};
  return first_that_fits(
      choices, [=](AttentionTiles tiles) { return backward_shared_bytes(bytes, width, tiles); },
      limit);
}

}  // namespace memengine
