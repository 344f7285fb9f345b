// What the warps of the backward pass share, and the units that a block works on (backward.cu).
#pragma once

#include "kernels/attention/hopper/backward_scratch.cuh"
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"

namespace memengine::cuda::hopper::backward {

// In which order units, key blocks of key/value heads, are worked on: those of `together` heads one
// after the other, block by block, in sets of `set` blocks; sets ascend, the blocks in one descend.
// dQ of a tile is added up in this order.
struct Order {
  int together, set;
};

struct Arguments {
  AttentionProblem problem;
  BackwardScratch scratch;
  bfloat16* dqkv;
  int units;
  Order order;
};

// A unit is 128 keys of a key/value head of a sequence. Keys and values of the next one are fetched
// early, where shared memory has room.
constexpr int units_at_once(int head_dim) {
  return head_dim <= 64 ? 2 : 1;
}

template <int head_dim>
struct Shared {
  static constexpr int queries = query_rows(head_dim);
  static constexpr int boxes = box_count(head_dim);
  static constexpr int slots = units_at_once(head_dim);
  static constexpr int query_box = queries * row_bytes;  // bytes
  static constexpr int query_bytes = boxes * query_box;

  unsigned char key[slots][boxes * tile_bytes], value[slots][boxes * tile_bytes];
  unsigned char query[2][query_bytes], dout[2][query_bytes];
  unsigned char dscore[2][queries / 64][tile_bytes];  // of 64 queries each, keys as rows
  float dquery[2][part_floats(head_dim)];
  float log_sum_exp[2][queries], delta[2][queries];
  Barrier keys_there[slots], keys_used[slots], there[2], used[2], dquery_there[2], dquery_gone[2];
  int unit[slots];
};

// What a unit is.
template <int head_dim>
struct Work {
  static constexpr int queries = query_rows(head_dim);

  int sequence, kv_head, block;  // of keys
  int first_tile, end_tile;      // of queries that see a key of this block
  int first_head, end_head;      // the query heads of this key/value head
  int set;

  __device__ Work(const Arguments& a, int unit) {
    const int blocks = a.scratch.tiles;
    set = a.order.set;
    const int first_pair = unit / (a.order.together * blocks) * a.order.together;
    const int members = min(a.order.together, a.problem.batch * a.problem.kv_heads - first_pair);
    const int i = unit - first_pair * blocks;
    const int pair = first_pair + i % members, place = i / members;
    const int first = place / set * set;  // of the set
    block = first + min(set, blocks - first) - 1 - (place - first);
    sequence = pair / a.problem.kv_heads;
    kv_head = pair % a.problem.kv_heads;
    first_tile = block * (tile / queries);
    const int end = a.problem.query_end(sequence, min((block + 1) * tile, a.problem.length));
    end_tile = (end + queries - 1) / queries;
    first_head = kv_head * a.problem.group();
    end_head = first_head + a.problem.group();
  }
  __device__ int tiles() const { return (end_tile - first_tile) * (end_head - first_head); }

  // Key blocks that add to dQ of a tile before this one: of the sets before, and of this set.
  __device__ int turn(const AttentionProblem& problem, int query_tile) const {
    const int first = block / set * set;
    const int lowest = problem.first_key(sequence, query_tile * queries) / tile;
    return max(0, first - lowest) + min(query_tile * queries / tile, first + set - 1) - block;
  }

  // Calls visit(head, query tile) in the one order that all warps follow.
  template <typename Visit>
  __device__ void for_each_tile(const Visit& visit) const {
    for (int head = first_head; head < end_head; ++head)
#pragma unroll 1
      for (int query_tile = first_tile; query_tile < end_tile; ++query_tile)
        visit(head, query_tile);
  }
};

}  // namespace memengine::cuda::hopper::backward
