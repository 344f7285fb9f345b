// The embedding bag and its two gradients against double loops, for every pattern of use.
#include "kernels/bag/embedding_bag.h"

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

struct Shape {
  std::int64_t tokens, picks_per_token, v_dim, table_rows;
};
constexpr Shape shapes[] = {{1, 1, 1, 1},       {19, 3, 99, 50},      {99, 19, 19, 989},
                            {300, 8, 64, 4096}, {33, 32, 128, 300},   {7, 1, 989, 19},
                            {2048, 4, 5, 989},  {1100, 16, 72, 5000}, {600, 33, 24, 19}};

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
    double squares = 0;
    for (const double value : reference) squares += value * value;
    double square_sum = 0;
    const auto run = [&] {
      const Tensor gradients = poisoned(accumulator(), {p.unique.capacity(), v_dim});
      const Tensor sum_of_squares = poisoned(DType::f64, {1});
      embedding_bag_backward_rows(context(), gradients, sum_of_squares, p.device_weights,
                                  p.device_vectors, p.unique);
      square_sum = download(sum_of_squares)[0];
      EXPECT_NEAR(square_sum, squares, 1e-4 * squares);
      const std::vector<double> spare =
          download(gradients.rows(expected.count(), p.unique.capacity() - expected.count()));
      for (const double value : spare) EXPECT_TRUE(std::isnan(value)) << "past the last row";
      return download(gradients.rows(0, expected.count()));
    };
    const std::vector<double> gradients = run();
    expect_close(gradients, reference);
    const double first_square_sum = square_sum;
    EXPECT_EQ(run(), gradients);
    EXPECT_EQ(square_sum, first_square_sum);
  });
}

// Rows that lie in the table are read to the bit as a gather would have written them.
TEST_P(EmbeddingBag, ReadsATableInPlaceAsItWouldBeGathered) {
  for (const Shape& shape : {Shape{19, 3, 99, 50}, Shape{99, 19, 19, 989}, Shape{300, 8, 64, 4096},
                             Shape{33, 37, 128, 300}, Shape{7, 2, 264, 19}, Shape{67, 4, 53, 99}}) {
    const auto& [tokens, picks, v_dim, table_rows] = shape;
    const ValueRows table = poisoned_table(table_rows, v_dim);
    TableState state = random_state(table_rows, v_dim, 9);
    upload_table(table, state);
    reserve_scratch(embedding_bag_scratch_bytes(context().device, tokens * picks, v_dim));
    std::vector<double> weights = normal(tokens * picks);
    std::vector<double> dout = normal(tokens * v_dim);
    const Tensor device_weights = upload(dtype(), {tokens, picks}, weights);
    const Tensor device_dout = upload(dtype(), {tokens, v_dim}, dout);
    for (const auto& pattern : pick_patterns(tokens * picks, table_rows)) {
      const ExpectedRows expected(pattern);
      const UniqueRows unique = upload_rows(expected, 2);
      const Tensor numbers = upload(DType::i32, {tokens, picks}, pattern);
      for (const ValuePrecision precision : {ValuePrecision::bf16, ValuePrecision::fp32}) {
        SCOPED_TRACE(testing::Message()
                     << tokens << " tokens, " << picks << " picks, v_dim " << v_dim
                     << ", full precision " << (precision == ValuePrecision::fp32));
        const Tensor gathered = poisoned(dtype(), {unique.capacity(), v_dim});
        gather_rows(context(), gathered, table, unique, precision, {});
        const auto results = [&](const BagRows& rows, Tensor indices) {
          const Tensor out = poisoned(dtype(), {tokens, v_dim});
          const Tensor dweights = poisoned(dtype(), {tokens, picks});
          embedding_bag_forward(context(), out, rows, indices, device_weights);
          embedding_bag_backward_weights(context(), dweights, device_dout, rows, indices);
          return std::pair(download(out), download(dweights));
        };
        const auto in_place = results(BagRows(table, precision), numbers);
        const auto plain = results(gathered, unique.inverse.reshape({tokens, picks}));
        EXPECT_EQ(in_place, plain);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, EmbeddingBag, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
