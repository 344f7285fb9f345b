#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/attention/tile_plan.h"
#include "tests/kernels/attention/attention_reference.h"
#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

enum class Mask { causal, documents, window, both };

class Attention : public GradientTest {
 protected:
  struct Case {
    std::int64_t batch, length;
    AttentionShape shape;
  };
  // head_dim from the smallest to the largest, lengths around and between tiles.
  static constexpr Case cases[] = {
      {5, 1, {1, 1, 2}},    {2, 19, {4, 2, 8}},    {3, 64, {3, 1, 16}},  {1, 99, {6, 2, 38}},
      {2, 130, {4, 4, 32}}, {1, 257, {2, 1, 128}}, {1, 200, {8, 1, 64}}, {3, 129, {2, 2, 64}},
      {2, 390, {4, 2, 64}}, {2, 65, {2, 2, 128}},  {1, 333, {2, 1, 128}}};

  // With sums in double, which FP32 has on a GPU: every element is the true one, rounded once.
  bool has_sums_in_double() const {
    return GetParam().device == Device::cuda && dtype() == DType::f32;
  }
  Context in_double() {
    Context exact = context();
    exact.sums_in_double = true;
    return exact;
  }
  static void expect_rounded_once(const std::vector<double>& values,
                                  const std::vector<double>& expected) {
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], expected[i], std::abs(expected[i]) * 0x1p-24 + 1e-13) << i;
    }
  }

  // Document starts of random documents, [B, T].
  std::vector<std::int32_t> random_documents(std::int64_t batch, std::int64_t length) {
    std::vector<std::int32_t> starts;
    for (std::int64_t b = 0; b < batch; ++b) {
      std::int32_t start = 0;
      for (std::int64_t t = 0; t < length; ++t) {
        if (integer(0, 20) == 0) start = static_cast<std::int32_t>(t);
        starts.push_back(start);
      }
    }
    return starts;
  }

  // The mask as the op wants it, made by the op's own visible_range, and checked.
  Tensor visible(Mask mask, const Case& c, std::vector<std::int32_t>& expected) {
    const bool documents = mask == Mask::documents || mask == Mask::both;
    const std::int64_t window = mask == Mask::window || mask == Mask::both ? 17 : 0;
    const auto starts = random_documents(c.batch, c.length);
    const Tensor first_visible = poisoned(DType::i32, {c.batch, c.length});
    visible_range(context(), first_visible,
                  documents ? upload(DType::i32, {c.batch, c.length}, starts) : Tensor(), window);
    expected.clear();
    for (std::int64_t i = 0; i < c.batch * c.length; ++i) {
      std::int64_t first = documents ? starts[static_cast<std::size_t>(i)] : 0;
      if (window) first = std::max(first, i % c.length - window + 1);
      expected.push_back(static_cast<std::int32_t>(first));
    }
    EXPECT_EQ(download_integers(first_visible), expected);
    return mask == Mask::causal ? Tensor() : first_visible;
  }

  static std::string words_of(const Case& c, Mask mask) {
    return (testing::Message() << "B " << c.batch << " T " << c.length << " heads " << c.shape.heads
                               << "/" << c.shape.kv_heads << " x " << c.shape.head_dim << " mask "
                               << static_cast<int>(mask))
        .GetString();
  }
  // Of a forward and a backward pass, for which scratch is reserved: contexts are taken afterwards.
  struct Inputs {
    std::vector<double> qkv_values, dout_values;  // as the device holds them
    std::vector<std::int32_t> first_visible;
    Tensor qkv, dout, mask;
  };
  Inputs inputs_of(const Case& c, Mask mask) {
    const std::int64_t all_heads = c.shape.heads + 2 * c.shape.kv_heads;
    Inputs in;
    in.qkv_values = normal(c.batch * c.length * all_heads * c.shape.head_dim);
    in.dout_values = normal(c.batch * c.length * c.shape.heads * c.shape.head_dim);
    in.qkv = upload(dtype(), {c.batch, c.length, all_heads, c.shape.head_dim}, in.qkv_values);
    in.dout = upload(dtype(), {c.batch, c.length, c.shape.heads, c.shape.head_dim}, in.dout_values);
    in.mask = visible(mask, c, in.first_visible);
    reserve_scratch(
        attention_scratch_bytes(GetParam().device, dtype(), c.batch, c.length, c.shape));
    return in;
  }

  // This GPU, granting a block no more shared memory than others have.
  std::vector<Context> smaller_chips() {
    std::vector<Context> chips;
    for (const std::int64_t limit : {medium_shared_memory, small_shared_memory}) {
      if (limit >= context().block_shared_bytes) continue;  // also on the CPU
      chips.push_back(context());
      chips.back().block_shared_bytes = limit;
    }
    return chips;
  }
};

// The gradient before the rotary embedding, by its definition: [B T, all heads, head_dim].
std::vector<double> turned_back(std::vector<double> dqkv,
                                const std::vector<std::int32_t>& positions,
                                const AttentionShape& shape, const RopeAngles& angles) {
  const std::int64_t all_heads = shape.heads + 2 * shape.kv_heads;
  for (std::size_t token = 0; token < positions.size(); ++token) {
    for (std::int64_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
      for (std::int64_t i = 0; i < shape.head_dim / 2; ++i) {
        const float angle =
            static_cast<float>(positions[token]) * rope_frequency(angles, i, shape.head_dim);
        const double cosine = std::cos(angle);  // in FP32, as the kernels
        const double sine = std::sin(angle);
        double* const pair = &dqkv[token * static_cast<std::size_t>(all_heads * shape.head_dim) +
                                   static_cast<std::size_t>(head * shape.head_dim + 2 * i)];
        const double x = pair[0] * cosine + pair[1] * sine;
        pair[1] = pair[1] * cosine - pair[0] * sine;
        pair[0] = x;
      }
    }
  }
  return dqkv;
}

TEST_P(Attention, ForwardAndBackward) {
  for (const Case& c : cases) {
    for (const Mask mask : {Mask::causal, Mask::documents, Mask::window, Mask::both}) {
      const auto [heads, kv_heads, head_dim] = c.shape;
      const std::int64_t all_heads = heads + 2 * kv_heads;
      SCOPED_TRACE(words_of(c, mask));
      const auto [qkv, dout, first_visible, qkv_tensor, dout_tensor, mask_tensor] =
          inputs_of(c, mask);
      const Tensor out = poisoned(dtype(), {c.batch, c.length, heads, head_dim});
      const Tensor log_sum_exp = poisoned(accumulator(), {c.batch, heads, c.length});
      const Tensor dqkv = poisoned(dtype(), {c.batch, c.length, all_heads, head_dim});

      const AttentionReference expected(qkv, dout, first_visible, c.batch, c.length, c.shape);
      attention_forward(context(), out, log_sum_exp, qkv_tensor, mask_tensor, c.shape);
      expect_close(download(out), expected.out);
      expect_close(download(log_sum_exp), expected.log_sum_exp);
      if (has_sums_in_double()) {
        const Tensor exact = poisoned(dtype(), {c.batch, c.length, heads, head_dim});
        const Tensor exact_sums = poisoned(accumulator(), {c.batch, heads, c.length});
        attention_forward(in_double(), exact, exact_sums, qkv_tensor, mask_tensor, c.shape);
        expect_rounded_once(download(exact), expected.out);
        expect_rounded_once(download(exact_sums), expected.log_sum_exp);
      }
      attention_backward(context(), dqkv, dout_tensor, qkv_tensor, out, log_sum_exp, mask_tensor,
                         c.shape);
      const auto gradient = download(dqkv);
      expect_close(gradient, expected.dqkv);

      const Tensor again = poisoned(dtype(), {c.batch, c.length, all_heads, head_dim});
      attention_backward(context(), again, dout_tensor, qkv_tensor, out, log_sum_exp, mask_tensor,
                         c.shape);
      EXPECT_EQ(download(again), gradient) << "not deterministic";

      const std::int64_t tokens = c.batch * c.length;
      std::vector<std::int32_t> positions;
      for (std::int64_t i = 0; i < tokens; ++i) {
        positions.push_back(static_cast<std::int32_t>(integer(0, 100000)));
      }
      const AttentionRotation rotation{upload(DType::i32, {tokens}, positions), 1e4};
      const Tensor unrotated = poisoned(dtype(), {c.batch, c.length, all_heads, head_dim});
      attention_backward(context(), unrotated, dout_tensor, qkv_tensor, out, log_sum_exp,
                         mask_tensor, c.shape, rotation);
      expect_close(download(unrotated),
                   turned_back(expected.dqkv, positions, c.shape, rotation.angles));

      for (const Context& chip : smaller_chips()) {  // the same with the tiles of 8.0 and of 8.6
        SCOPED_TRACE(testing::Message() << chip.block_shared_bytes << " bytes per block");
        const Tensor small_out = poisoned(dtype(), {c.batch, c.length, heads, head_dim});
        const Tensor small_sums = poisoned(accumulator(), {c.batch, heads, c.length});
        const Tensor small_gradient = poisoned(dtype(), {c.batch, c.length, all_heads, head_dim});
        attention_forward(chip, small_out, small_sums, qkv_tensor, mask_tensor, c.shape);
        expect_close(download(small_out), expected.out);
        expect_close(download(small_sums), expected.log_sum_exp);
        attention_backward(chip, small_gradient, dout_tensor, qkv_tensor, small_out, small_sums,
                           mask_tensor, c.shape);
        expect_close(download(small_gradient), expected.dqkv);
      }
    }
  }
}

// More pieces of work than a GPU has multiprocessors, so that a block does several, against the
// kernels of smaller chips.
TEST_P(Attention, ManyBlocksAreAsOnSmallerChips) {
  if (smaller_chips().empty() || dtype() != DType::bf16) GTEST_SKIP() << "one kind of kernel";
  for (const Case& c :
       {Case{9, 700, {6, 3, 64}}, Case{40, 130, {4, 4, 64}}, Case{3, 2100, {4, 2, 64}},
        Case{9, 700, {6, 3, 32}}, Case{9, 700, {6, 3, 128}}, Case{3, 2100, {2, 2, 128}}}) {
    for (const Mask mask : {Mask::causal, Mask::both}) {
      const auto [heads, kv_heads, head_dim] = c.shape;
      const std::int64_t all_heads = heads + 2 * kv_heads;
      SCOPED_TRACE(words_of(c, mask));
      const Inputs inputs = inputs_of(c, mask);
      std::vector<double> outs[3], sums[3], gradients[3];
      // A context says where its scratch lies: after reserving it.
      const Context contexts[] = {context(), context(), smaller_chips().front()};
      for (std::size_t i = 0; i < 3; ++i) {
        const Tensor out = poisoned(dtype(), {c.batch, c.length, heads, head_dim});
        const Tensor log_sum_exp = poisoned(accumulator(), {c.batch, heads, c.length});
        const Tensor dqkv = poisoned(dtype(), {c.batch, c.length, all_heads, head_dim});
        attention_forward(contexts[i], out, log_sum_exp, inputs.qkv, inputs.mask, c.shape);
        attention_backward(contexts[i], dqkv, inputs.dout, inputs.qkv, out, log_sum_exp,
                           inputs.mask, c.shape);
        outs[i] = download(out);
        sums[i] = download(log_sum_exp);
        gradients[i] = download(dqkv);
      }
      EXPECT_EQ(outs[0], outs[1]);
      EXPECT_EQ(gradients[0], gradients[1]) << "not deterministic";
      expect_close(outs[0], outs[2]);
      expect_close(sums[0], sums[2]);
      expect_close(gradients[0], gradients[2]);
    }
  }
}

TEST_P(Attention, GradientIsThatOfTheForwardPass) {
  const Case c{2, 11, {4, 2, 6}};
  auto qkv = normal(2 * 11 * 8 * 6);
  auto dout = normal(2 * 11 * 4 * 6);
  const Tensor qkv_tensor = upload(dtype(), {2, 11, 8, 6}, qkv);
  const Tensor dout_tensor = upload(dtype(), {2, 11, 4, 6}, dout);
  const Tensor out = poisoned(dtype(), {2, 11, 4, 6});
  const Tensor log_sum_exp = poisoned(accumulator(), {2, 4, 11});
  const Tensor dqkv = poisoned(dtype(), {2, 11, 8, 6});
  std::vector<std::int32_t> first_visible;
  const Tensor mask = visible(Mask::documents, c, first_visible);
  attention_forward(context(), out, log_sum_exp, qkv_tensor, mask, c.shape);
  attention_backward(context(), dqkv, dout_tensor, qkv_tensor, out, log_sum_exp, mask, c.shape);
  expect_gradient(
      download(dqkv), qkv,
      [&](const std::vector<double>& at) {
        return inner_product(
            dout, AttentionReference(at, dout, first_visible, c.batch, c.length, c.shape).out);
      },
      200);
}

// Scores far apart: the softmax must neither overflow nor lose the row's largest key.
TEST_P(Attention, LargeScores) {
  const Case c{1, 70, {2, 1, 16}};
  auto qkv = normal(70 * 4 * 16, 30.0);
  std::vector<double> dout(70 * 2 * 16, 1.0);
  const Tensor qkv_tensor = upload(dtype(), {1, 70, 4, 16}, qkv);
  const Tensor out = poisoned(dtype(), {1, 70, 2, 16});
  const Tensor log_sum_exp = poisoned(accumulator(), {1, 2, 70});
  attention_forward(context(), out, log_sum_exp, qkv_tensor, Tensor(), c.shape);
  const std::vector<std::int32_t> first_visible(70, 0);
  const AttentionReference expected(qkv, dout, first_visible, 1, 70, c.shape);
  expect_close(download(log_sum_exp), expected.log_sum_exp);
  // Scores near 10^4 carry a rounding of 10^-3 in single precision, which the softmax passes on.
  expect_close(download(out), expected.out, dtype() == DType::f64 ? 1e-11 : 2e-2);
}

// Continuations of one context, laid one after the other, must see what each would see alone
// after a copy of the context.
TEST_P(Attention, ContinuationsShareTheirContext) {
  for (const AttentionShape shape :
       {AttentionShape{4, 2, 8}, {3, 1, 64}, {2, 2, 38}, {2, 1, 128}}) {
    const auto [heads, kv_heads, head_dim] = shape;
    const std::int64_t all_heads = heads + 2 * kv_heads;
    const auto token = static_cast<std::size_t>(all_heads * head_dim);
    const auto out_token = static_cast<std::size_t>(heads * head_dim);
    // Where each token of the packed row belongs: its document, context and continuation.
    std::vector<std::int32_t> first_visible, hidden;
    std::vector<std::vector<std::size_t>> texts;  // the tokens of each text, alone
    for (int document = 0; document < 7; ++document) {
      const auto start = static_cast<std::int32_t>(first_visible.size());
      const auto branch = start + static_cast<std::int32_t>(document == 0 ? 150 : integer(0, 90));
      for (std::int32_t t = start; t < branch; ++t) {
        first_visible.push_back(start);
        hidden.insert(hidden.end(), {branch, branch});
      }
      for (std::int64_t c = integer(1, 5); c > 0; --c) {
        const auto own = static_cast<std::int32_t>(first_visible.size());
        std::vector<std::size_t>& text = texts.emplace_back();
        for (std::int32_t t = start; t < branch; ++t) text.push_back(static_cast<std::size_t>(t));
        for (std::int64_t i = integer(1, 70); i > 0; --i) {
          text.push_back(first_visible.size());
          first_visible.push_back(start);
          hidden.insert(hidden.end(), {branch, own});
        }
      }
    }
    const auto length = static_cast<std::int64_t>(first_visible.size());
    auto qkv = normal(length * all_heads * head_dim);
    const Tensor qkv_tensor = upload(dtype(), {1, length, all_heads, head_dim}, qkv);
    const Tensor out = poisoned(dtype(), {1, length, heads, head_dim});
    const Tensor log_sum_exp = poisoned(accumulator(), {1, heads, length});
    reserve_scratch(attention_scratch_bytes(GetParam().device, dtype(), 1, length, shape));
    attention_forward(context(), out, log_sum_exp, qkv_tensor,
                      upload(DType::i32, {1, length}, first_visible), shape,
                      upload(DType::i32, {1, length, 2}, hidden));
    const auto results = download(out), sums = download(log_sum_exp);
    std::vector<double> exact_results;
    if (has_sums_in_double()) {
      const Tensor exact = poisoned(dtype(), {1, length, heads, head_dim});
      const Tensor exact_sums = poisoned(accumulator(), {1, heads, length});
      attention_forward(in_double(), exact, exact_sums, qkv_tensor,
                        upload(DType::i32, {1, length}, first_visible), shape,
                        upload(DType::i32, {1, length, 2}, hidden));
      exact_results = download(exact);
    }
    for (const std::vector<std::size_t>& text : texts) {
      const auto count = static_cast<std::int64_t>(text.size());
      std::vector<double> alone, got, got_sums;
      for (const std::size_t t : text) {
        alone.insert(alone.end(), &qkv[t * token], &qkv[t * token] + token);
        got.insert(got.end(), &results[t * out_token], &results[t * out_token] + out_token);
      }
      for (std::int64_t h = 0; h < heads; ++h) {
        for (const std::size_t t : text) {
          got_sums.push_back(sums[static_cast<std::size_t>(h * length) + t]);
        }
      }
      const std::vector<double> no_gradient(got.size(), 0.0);
      const std::vector<std::int32_t> from_start(text.size(), 0);
      const AttentionReference expected(alone, no_gradient, from_start, 1, count, shape);
      expect_close(got, expected.out);
      if (!exact_results.empty()) {
        std::vector<double> exact;
        for (const std::size_t t : text) {
          exact.insert(exact.end(), &exact_results[t * out_token],
                       &exact_results[t * out_token] + out_token);
        }
        expect_rounded_once(exact, expected.out);
      }
      expect_close(got_sums, expected.log_sum_exp);
    }
  }
}

TEST(AttentionErrors, ImpossibleShapes) {
  Runtime runtime(Device::cpu);
  for (const AttentionShape shape : {AttentionShape{3, 2, 8}, {2, 1, 7}, {2, 1, 130}, {2, 0, 8}}) {
    EXPECT_THROW(shape.check(), Error);
  }
  float memory[64] = {};
  const Tensor qkv(memory, DType::f32, {1, 2, 3, 4});
  EXPECT_THROW(attention_forward(runtime.context(), qkv, qkv, qkv, Tensor(), {2, 1, 4}), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, Attention, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
