// Chapter 9: one query's attention tile by tile, as a warpgroup of hopper/forward.cu computes it,
// and its backward pass key block by key block, as hopper/backward.cu does; both beside the
// engine's own attention.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "kernels/attention/attention.h"

namespace memengine::course {
namespace attention_tiles {
namespace {

constexpr int tile = 2;  // keys

// Of one query: its scores by key, in powers of two, so that exponentials are easy.
struct Query {
  std::vector<float> scores, values;
  int tiles() const { return static_cast<int>(scores.size()) / tile; }
};

struct Walk {
  float maximum = -INFINITY, sum = 0, output = 0, shrink = 0;

  void visit(const Query& query, int at) {
    float largest = maximum;
    for (int k = at * tile; k < (at + 1) * tile; ++k) {
      largest = std::max(largest, query.scores[static_cast<std::size_t>(k)]);
    }
    shrink = std::exp2(maximum - largest);
    maximum = largest;
    sum *= shrink, output *= shrink;
    for (int k = at * tile; k < (at + 1) * tile; ++k) {
      const auto key = static_cast<std::size_t>(k);
      const float probability = std::exp2(query.scores[key] - maximum);
      sum += probability, output += probability * query.values[key];
    }
  }
  float log2_sum() const { return maximum + std::log2(sum); }
};

Walk walk(const Query& query) {
  Walk walk;
  for (int at = query.tiles() - 1; at >= 0; --at) walk.visit(query, at);
  return walk;
}

// The same by attention_forward and attention_backward, for a last token that sees all keys: heads
// of two numbers of which the second are 0. The scaled score is ln 2 times the number above.
struct ByTheEngine {
  float out, log2_sum, dquery;
};

ByTheEngine attend(const Query& query) {
  Blackboard board;
  const auto length = static_cast<std::int64_t>(query.scores.size());
  const AttentionShape shape{.heads = 1, .kv_heads = 1, .head_dim = 2};
  std::vector<float> qkv;
  for (std::size_t t = 0; t < query.scores.size(); ++t) {
    const float q = std::numbers::sqrt2_v<float> * std::numbers::ln2_v<float>;
    qkv.insert(qkv.end(), {q, 0, query.scores[t], 0, query.values[t], 0});
  }
  std::vector<float> dout(query.scores.size() * 2);
  dout[dout.size() - 2] = 1;
  const Tensor packed = board.floats({1, length, 3, 2}, qkv);
  const Tensor out = board.zeros(DType::f32, {1, length, 1, 2});
  const Tensor log_sum_exp = board.zeros(DType::f32, {1, 1, length});
  const Tensor dqkv = board.zeros(DType::f32, {1, length, 3, 2});
  attention_forward(board.context(), out, log_sum_exp, packed, {}, shape);
  attention_backward(board.context(), dqkv, board.floats({1, length, 1, 2}, dout), packed, out,
                     log_sum_exp, {}, shape);
  const auto last = static_cast<std::size_t>(length - 1);
  return {floats_of(out)[2 * last], floats_of(log_sum_exp)[last] / std::numbers::ln2_v<float>,
          floats_of(dqkv)[6 * last]};
}

const Query shown = {{2, 2, 4, 1, 0, 3}, {1, 2, 3, 4, 5, 6}};

std::string example() {
  std::string text = "forward, last tile first     S      m    shrink      l        O\n";
  Walk so_far;
  for (int at = shown.tiles() - 1; at >= 0; --at) {
    so_far.visit(shown, at);
    const auto key = static_cast<std::size_t>(at * tile);
    text += fmt::format("tile {}, keys {} and {}        {} {}  {:>5} {:>9.4f} {:>7.4f} {:>8.4f}\n",
                        at, key, key + 1, shown.scores[key], shown.scores[key + 1], so_far.maximum,
                        so_far.shrink, so_far.sum, so_far.output);
  }
  const ByTheEngine engine = attend(shown);
  text += fmt::format("out = O / l = {:.4f}, log2 of the sum = m + log2 l = {:.4f}\n",
                      so_far.output / so_far.sum, so_far.log2_sum());
  text += fmt::format("attention_forward: {:.4f} and {:.4f}\n\n", engine.out, engine.log2_sum);

  const float delta = so_far.output / so_far.sum;  // dout is 1
  text += fmt::format("backward, dout = 1, delta = dout out = {:.4f}\n", delta);
  text += "key block     S      P = 2^(S - log2 sum)   dP = V dO   dS = P (dP - delta)   dQ\n";
  float dquery = 0;
  for (int at = shown.tiles() - 1; at >= 0; --at) {
    for (int k = at * tile; k < (at + 1) * tile; ++k) {
      const auto key = static_cast<std::size_t>(k);
      const float probability = std::exp2(shown.scores[key] - so_far.log2_sum());
      const float dscore = probability * (shown.values[key] - delta);
      dquery += dscore * shown.scores[key] / std::numbers::sqrt2_v<float>;
      text += fmt::format("{}, key {} {:>7} {:>16.4f} {:>15} {:>18.4f} {:>14.4f}\n", at, key,
                          shown.scores[key], probability, shown.values[key], dscore, dquery);
    }
  }
  return text + fmt::format("attention_backward: dQ = {:.4f}", engine.dquery);
}

const Query asked = {{4, 4, 5, 2, 3, 1}, {1, 1, 1, 1, 1, 1}};

std::string question() {
  return "A query's scores, three tiles of two keys, first to last: 4 4 | 5 2 | 3 1. What are m "
         "and "
         "l\nafter the last tile that is visited? And the backward pass of a text of 512 tokens, "
         "in "
         "key\nblocks of 128 (0 to 3): which three blocks add to dQ of the queries 256 to 383, and "
         "in\nwhich order? (five numbers)";
}

Verdict check(const std::string& answer) {
  const std::vector<double> given = read_numbers(answer, 5, "m, l, and three key blocks");
  const Walk found = walk(asked);
  float unshrunk = 0;
  Walk step;
  for (int at = asked.tiles() - 1; at >= 0; --at) {
    const float before = step.sum;
    step.visit(asked, at);
    unshrunk += step.sum - before * step.shrink;
  }
  if (!agree(given[0], found.maximum)) {
    return {false, "m is the largest score that has been seen in any tile so far"};
  }
  if (agree(given[1], unshrunk)) {
    return {false,
            "when m grows, what was summed relative to the old m shrinks by 2^(old m - new m)"};
  }
  if (!agree(given[1], found.sum)) {
    return {
        false,
        "m is right; l is the sum of 2^(S - m) over the keys, with the last m: begin with 2^0 + "
        "2^(1 - 3)"};
  }
  const std::vector<double> blocks(given.begin() + 2, given.end());
  if (blocks == std::vector<double>{0, 1, 2}) {
    return {false, "m and l are right; the blocks add by descending keys, as they take their work"};
  }
  if (blocks == std::vector<double>{3, 2, 1}) {
    return {false, "no query below 384 sees a key of block 3: attention is causal"};
  }
  if (blocks != std::vector<double>{2, 1, 0}) {
    return {false,
            "m and l are right; queries 256 to 383 see the keys of blocks 0 to 2, and the blocks "
            "add by descending keys"};
  }
  return {true, fmt::format(
                    "All in all the sum is 2^{} * {}, whatever the order of the tiles; dQ's order "
                    "is fixed, so that its rounding is the same every time.",
                    found.maximum, found.sum)};
}

}  // namespace
}  // namespace attention_tiles

Chapter attention_tiles_chapter() {
  return {9,
          "09_attention_on_hopper",
          "Attention on Hopper's instructions",
          attention_tiles::example,
          attention_tiles::question,
          attention_tiles::check};
}

}  // namespace memengine::course
