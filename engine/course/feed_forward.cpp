// Chapter 1: a feed-forward layer as a memory of keys and values (Geva et al. 2021), and the price
// of holding more of them, in a dense layer and in a memory layer.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise/swiglu.h"
#include "model/memory/memory_layer.h"

namespace memengine::course {
namespace feed_forward {
namespace {

// What the four numbers of x mean, and the four of the output.
constexpr std::array<const char*, 4> inputs = {"Paris", "Rome", "capital of", "river of"};
constexpr std::array<const char*, 4> outputs = {"France", "Seine", "Italy", "Tiber"};

const std::vector<float> keys = {2,  -2, 2,  -2,  // Paris, capital of
                                 2,  -2, -2, 2,   // Paris, river of
                                 -2, 2,  2,  -2,  // Rome, capital of
                                 -2, 2,  -2, 2};  // Rome, river of

// Neuron i writes `values[i]` to output i.
struct Layer {
  std::vector<float> gate, up, hidden, out;

  explicit Layer(const std::vector<float>& x) {
    Blackboard board;
    std::vector<float> w13 = keys;
    w13.insert(w13.end(), 16, 0.5F);  // w3 . x is 1: half of a subject and half of a relation
    std::vector<float> w2(16);
    for (std::size_t i = 0; i < 4; ++i) w2[5 * i] = 1;
    const Tensor gate_up = board.zeros(DType::f32, {1, 8});
    const Tensor activation = board.zeros(DType::f32, {1, 4});
    const Tensor result = board.zeros(DType::f32, {1, 4});
    linear_forward(board.context(), gate_up, board.floats({1, 4}, x), board.floats({8, 4}, w13),
                   {});
    swiglu_forward(board.context(), activation, gate_up);
    linear_forward(board.context(), result, activation, board.floats({4, 4}, w2), {});
    const std::vector<float> both = floats_of(gate_up);
    gate.assign(both.begin(), both.begin() + 4);
    up.assign(both.begin() + 4, both.end());
    hidden = floats_of(activation);
    out = floats_of(result);
  }
};

struct Price {
  std::int64_t multiply_adds = 0, values = 0;  // for a token; vectors that are stored
};

Price dense_price(std::int64_t dim, std::int64_t hidden) {
  ModelConfig config;
  config.dim = dim;
  config.n_layers = 1;
  config.multiple_of = hidden;  // what 8/3 dim, which is less here, is rounded up to
  ParameterStore store;
  return {DenseFeedForward(store, config, 0).multiply_adds(), hidden};
}

Price memory_price(std::int64_t dim, const ProductKeyConfig& memory) {
  ModelConfig config;
  config.dim = dim;
  config.n_layers = 1;
  config.productkey_args = memory;
  ParameterStore store;
  return {MemoryLayer(store, config, 0, 0, 1).multiply_adds(), memory.rows()};
}

std::string price_line(const std::string& name, const Price& price) {
  return fmt::format("  {:<38}{:>12} {:>14}", name, price.values, price.multiply_adds);
}

std::string example() {
  const Layer layer({1, 0, 1, 0});
  std::string text =
      "x = Paris + capital of = (1, 0, 1, 0)\n\nneuron  key (row of w1)   key . x   "
      "silu  w3 . x  hidden  value (column of w2)\n";
  for (std::size_t i = 0; i < 4; ++i) {
    text += fmt::format(
        "{:>6}  ({:>2}, {:>2}, {:>2}, {:>2}) {:>9.2f} {:>6.2f} {:>7.2f} {:>7.2f}  {}\n", i,
        keys[4 * i], keys[4 * i + 1], keys[4 * i + 2], keys[4 * i + 3], layer.gate[i],
        layer.hidden[i] / layer.up[i], layer.up[i], layer.hidden[i], outputs[i]);
  }
  text += "out = ";
  for (std::size_t i = 0; i < 4; ++i) {
    const char* sign = layer.out[i] < 0 ? " - " : " + ";
    text += fmt::format("{}{:.2f} {}", i == 0 ? "" : sign, std::abs(layer.out[i]), outputs[i]);
  }
  ProductKeyConfig recipe;
  recipe.mem_k_dim = 256;
  text +=
      "\n\nwhat dim 256 costs                            values   multiply-adds\n"
      "                                              stored       per token\n";
  text += price_line("dense, hidden 768", dense_price(256, 768)) + '\n';
  text += price_line("dense, hidden 1048576", dense_price(256, 1048576)) + '\n';
  text += price_line("memory, 1024 x 1024 rows, 4 x 32 read", memory_price(256, recipe));
  return text;
}

ProductKeyConfig asked() {
  ProductKeyConfig memory;
  memory.mem_n_keys = 512;
  memory.mem_heads = 2;
  memory.mem_knn = 16;
  memory.mem_k_dim = 128;
  return memory;
}

std::string question() {
  return "Of a model of dim 128: how many multiply-adds does one token cost in\n"
         "  (a) a dense SwiGLU layer with 384 hidden neurons,\n"
         "  (b) one with as many neurons as a table of 512 x 512 rows has rows,\n"
         "  (c) a memory layer with that table, 2 heads, knn 16, mem_k_dim 128?\n"
         "Three whole numbers.";
}

Verdict check(const std::string& answer) {
  const std::vector<double> given = read_numbers(answer, 3, "multiply-adds of (a), (b) and (c)");
  const Price small = dense_price(128, 384);
  const Price large = dense_price(128, asked().rows());
  const Price memory = memory_price(128, asked());
  const auto is = [](double number, std::int64_t expected) {
    return number == static_cast<double>(expected);
  };
  if (is(given[0], small.multiply_adds * 2 / 3)) {
    return {false, "(a) SwiGLU has three matrices, not two: w1, w3 and w2"};
  }
  if (!is(given[0], small.multiply_adds)) {
    return {false, "(a) each of w1, w3 and w2 has 128 x 384 weights, each used once per token"};
  }
  if (!is(given[1], large.multiply_adds)) {
    return {false, "(b) is (a) with 512 x 512 = 262144 hidden neurons"};
  }
  if (is(given[2], memory.multiply_adds - 2 * 128 * 128)) {
    return {false,
            "(c) the rows are read, but after that come value_proj and swilu_projection, "
            "128 x 128 each"};
  }
  if (!is(given[2], memory.multiply_adds)) {
    return {false,
            "(c) add up: the query, 128 x (2 x 128); its two halves' scores, (2 x 128) x 512; "
            "the bag, (2 x 16) x 128; value_proj and swilu_projection, 128 x 128 each"};
  }
  return {true, fmt::format("The memory stores {} times as many values as (a) for {:.1f} times its "
                            "arithmetic; the dense layer of the same size costs {} times as much.",
                            memory.values / small.values,
                            static_cast<double>(memory.multiply_adds) /
                                static_cast<double>(small.multiply_adds),
                            large.multiply_adds / memory.multiply_adds)};
}

}  // namespace
}  // namespace feed_forward

Chapter feed_forward_chapter() {
  return {1,
          "01_feed_forward",
          "What a feed-forward layer stores",
          feed_forward::example,
          feed_forward::question,
          feed_forward::check};
}

}  // namespace memengine::course
