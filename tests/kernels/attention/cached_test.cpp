// Decoding: attention over a cache of keys and values.
#include <algorithm>

#include "kernels/attention/attention.h"
#include "tests/kernels/attention/attention_reference.h"
#include "tests/support/op_test.h"

namespace memengine {
namespace {

class CachedAttention : public OpTest {};

// Ragged sequences arrive in random pieces; every token must see what full attention shows it.
TEST_P(CachedAttention, EqualsFull) {
  for (const std::int64_t window : {0, 1, 23}) {
    for (const AttentionShape shape : {AttentionShape{4, 2, 32}, {3, 3, 6}, {8, 1, 128}}) {
      SCOPED_TRACE(testing::Message() << "window " << window << " head_dim " << shape.head_dim);
      const auto [heads, kv_heads, head_dim] = shape;
      const std::int64_t all_heads = heads + 2 * kv_heads;
      const std::int64_t length = 150;
      const std::int64_t batch = 3;
      const std::int64_t capacity = length + 5;
      auto qkv = normal(batch * length * all_heads * head_dim);
      upload(dtype(), {batch, length, all_heads, head_dim}, qkv);  // rounds
      const std::vector<double> no_gradient(
          static_cast<std::size_t>(batch * length * heads * head_dim), 0.0);
      std::vector<std::int32_t> first_visible;
      for (std::int64_t i = 0; i < batch * length; ++i) {
        first_visible.push_back(static_cast<std::int32_t>(
            window ? std::max<std::int64_t>(i % length - window + 1, 0) : 0));
      }
      const AttentionReference full(qkv, no_gradient, first_visible, batch, length, shape);

      const Tensor keys = poisoned(dtype(), {batch, capacity, kv_heads, head_dim});
      const Tensor values = poisoned(dtype(), {batch, capacity, kv_heads, head_dim});
      std::vector<std::int64_t> done(static_cast<std::size_t>(batch), 0);
      const auto token = static_cast<std::size_t>(all_heads * head_dim);
      const auto out_token = static_cast<std::size_t>(heads * head_dim);
      while (*std::min_element(done.begin(), done.end()) < length) {
        std::vector<std::int32_t> sequences;
        std::vector<std::int32_t> positions;
        std::vector<double> rows;
        std::vector<double> expected;
        for (std::int64_t s = batch - 1; s >= 0; --s) {
          std::int64_t& at = done[static_cast<std::size_t>(s)];
          const std::int64_t until = std::min(length, at + integer(0, 1) * integer(1, 60));
          for (; at < until; ++at) {
            sequences.push_back(static_cast<std::int32_t>(s));
            positions.push_back(static_cast<std::int32_t>(at));
            const auto n = static_cast<std::size_t>(s * length + at);
            rows.insert(rows.end(), qkv.begin() + static_cast<std::ptrdiff_t>(n * token),
                        qkv.begin() + static_cast<std::ptrdiff_t>((n + 1) * token));
            expected.insert(expected.end(),
                            full.out.begin() + static_cast<std::ptrdiff_t>(n * out_token),
                            full.out.begin() + static_cast<std::ptrdiff_t>((n + 1) * out_token));
          }
        }
        if (sequences.empty()) continue;
        const auto count = static_cast<std::int64_t>(sequences.size());
        const Tensor out = poisoned(dtype(), {count, heads, head_dim});
        const Tensor new_qkv = upload(dtype(), {count, all_heads, head_dim}, rows);
        const Tensor at_sequences = upload(DType::i32, {count}, sequences);
        const Tensor at_positions = upload(DType::i32, {count}, positions);
        store_in_cache(context(), keys, values, new_qkv, at_sequences, at_positions, shape);
        attention_cached(context(), out, keys, values, new_qkv, at_sequences, at_positions, window,
                         shape);
        expect_close(download(out), expected);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, CachedAttention, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
