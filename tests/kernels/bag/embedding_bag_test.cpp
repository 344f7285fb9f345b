// The embedding bag and its two gradients against double loops, for every pattern of use.
#include "kernels/bag/embedding_bag.h"

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

struct Shape {
  std::int64_t tokens, picks_per_token, v_dim, table_rows;
};
constexpr Shape shapes[] = {{1, 1, 1, 1},       {19, 3, 99, 50},    {99, 19, 19, 989},
                            {300, 8, 64, 4096}, {33, 32, 128, 300}, {7, 1, 989, 19},
                            {2048, 4, 5, 989}};

class EmbeddingBag : public MemoryOpTest {
 protected:
  // One random problem: inputs as the device has them, and their values.
  struct Problem {
    std::vector<double> rows, weights, vectors;
    Tensor device_rows, device_weights, device_vectors;
    UniqueRows unique;
  };
  Problem problem(const Shape& shape, const ExpectedRows& expected) {
    const auto& [tokens, picks, v_dim, table_rows] = shape;
    const std::int64_t spare = 3;
    Problem p;
    p.rows = normal((expected.count() + spare) * v_dim);
    p.weights = normal(tokens * picks);
    p.vectors = normal(tokens * v_dim);
    p.device_rows = upload(dtype(), {expected.count() + spare, v_dim}, p.rows);
    p.device_weights = upload(dtype(), {tokens, picks}, p.weights);
    p.device_vectors = upload(dtype(), {tokens, v_dim}, p.vectors);
    p.unique = upload_rows(expected, spare);
    reserve_scratch(embedding_bag_scratch_bytes(context().device, tokens * picks, v_dim));
    return p;
  }

  template <typename Body>
  void for_each_problem(Body&& body) {
    for (const Shape& shape : shapes) {
      const std::int64_t picks = shape.tokens * shape.picks_per_token;
      for (const auto& pattern : pick_patterns(picks, shape.table_rows)) {
        SCOPED_TRACE(testing::Message() << shape.tokens << " tokens, " << shape.picks_per_token
                                        << " picks, v_dim " << shape.v_dim);
        const ExpectedRows expected(pattern);
        body(shape, expected, problem(shape, expected));
      }
    }
  }
};

TEST_P(EmbeddingBag, ForwardSumsWeightedRows) {
  for_each_problem([&](const Shape& shape, const ExpectedRows& expected, const Problem& p) {
    const auto& [tokens, picks, v_dim, table_rows] = shape;
    std::vector<double> reference(at(tokens * v_dim));
    for (std::int64_t pick = 0; pick < tokens * picks; ++pick) {
      for (std::int64_t i = 0; i < v_dim; ++i) {
        reference[at(pick / picks * v_dim + i)] +=
            p.weights[at(pick)] * p.rows[at(expected.inverse[at(pick)] * v_dim + i)];
      }
    }
    const Tensor out = poisoned(dtype(), {tokens, v_dim});
    embedding_bag_forward(context(), out, p.device_rows, p.unique.inverse.reshape({tokens, picks}),
                          p.device_weights);
    expect_close(download(out), reference);
  });
}

TEST_P(EmbeddingBag, WeightGradientIsADotProduct) {
  for_each_problem([&](const Shape& shape, const ExpectedRows& expected, const Problem& p) {
    const auto& [tokens, picks, v_dim, table_rows] = shape;
    std::vector<double> reference(at(tokens * picks));
    for (std::int64_t pick = 0; pick < tokens * picks; ++pick) {
      for (std::int64_t i = 0; i < v_dim; ++i) {
        reference[at(pick)] += p.vectors[at(pick / picks * v_dim + i)] *
                               p.rows[at(expected.inverse[at(pick)] * v_dim + i)];
      }
    }
    const Tensor dweights = poisoned(dtype(), {tokens, picks});
    embedding_bag_backward_weights(context(), dweights, p.device_vectors, p.device_rows,
                                   p.unique.inverse.reshape({tokens, picks}));
    expect_close(download(dweights), reference);
  });
}

TEST_P(EmbeddingBag, RowGradientGathersItsPicksAndIsRepeatable) {
  for_each_problem([&](const Shape& shape, const ExpectedRows& expected, const Problem& p) {
    const auto& [tokens, picks, v_dim, table_rows] = shape;
    std::vector<double> reference(at(expected.count() * v_dim));
    for (std::int64_t pick = 0; pick < tokens * picks; ++pick) {
      for (std::int64_t i = 0; i < v_dim; ++i) {
        reference[at(expected.inverse[at(pick)] * v_dim + i)] +=
            p.weights[at(pick)] * p.vectors[at(pick / picks * v_dim + i)];
      }
    }
    const auto run = [&] {
      const Tensor gradients = poisoned(accumulator(), {p.unique.capacity(), v_dim});
      embedding_bag_backward_rows(context(), gradients, p.device_weights, p.device_vectors,
                                  p.unique);
      const std::vector<double> spare =
          download(gradients.rows(expected.count(), p.unique.capacity() - expected.count()));
      for (const double value : spare) EXPECT_TRUE(std::isnan(value)) << "past the last row";
      return download(gradients.rows(0, expected.count()));
    };
    const std::vector<double> gradients = run();
    expect_close(gradients, reference);
    EXPECT_EQ(run(), gradients);
  });
}

INSTANTIATE_TEST_SUITE_P(Devices, EmbeddingBag, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
