// The product-key lookup against a search of all n^2 keys (best first where n^2 is too many).
#include "tests/kernels/product_key/product_key_testing.h"

namespace memengine::product_key_testing {
namespace {

TEST_P(ProductKey, FindsTheBestOfAllPairs) {
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn);
    Problem p = problem(shape, false);
    upload_problem(p);
    forward();
    const std::vector<std::int32_t> rows = download_integers(indices_);
    std::vector<std::int32_t> best;
    for (std::int64_t group = 0; group < p.groups(); ++group) {
      const std::vector<std::int32_t> group_best = p.best_rows(group);
      best.insert(best.end(), group_best.begin(), group_best.end());
      // Rounding may exchange rows of nearly equal score, but never picks one twice.
      const auto first = rows.begin() + group * shape.knn;
      ASSERT_EQ(std::set<std::int32_t>(first, first + shape.knn).size(), group_best.size());
      for (std::int64_t k = 0; k < shape.knn; ++k) {
        ASSERT_GE(first[k], 0);
        ASSERT_LT(first[k], shape.n_keys * shape.n_keys);
        EXPECT_NEAR(p.score(group, first[k]), p.score(group, group_best[Problem::index(k)]),
                    dtype() == DType::f64 ? 0 : 1e-4);
      }
    }
    if (dtype() == DType::f64) {
      EXPECT_EQ(rows, best);
    }
    expect_close(download(weights_), p.weights(best));
  }
}

TEST_P(ProductKey, BreaksTiesByTheLowerRow) {
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn);
    Problem p = problem(shape, true);
    upload_problem(p);
    forward();
    std::vector<std::int32_t> best;
    for (std::int64_t group = 0; group < p.groups(); ++group) {
      const std::vector<std::int32_t> group_best = p.best_rows(group);
      best.insert(best.end(), group_best.begin(), group_best.end());
    }
    EXPECT_EQ(download_integers(indices_), best);
  }
}

TEST_P(ProductKey, LargeTablesGiveTheExactRows) {
  for (const Shape& shape : large_shapes) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn
                                    << ", k_dim " << shape.k_dim << ", tokens " << shape.tokens);
    Problem p = problem(shape, true);
    upload_problem(p);
    forward();
    const std::vector<std::int32_t> best = p.all_best_rows();
    ASSERT_EQ(download_integers(indices_), best);
    expect_close(download(weights_), p.weights(best));
  }
}

// Few distinct sub-keys, each planted many times: ties within halves, between pairs, at the end of
// what is picked, all in one column block or far apart.
TEST_P(ProductKey, PlantedTiesGiveTheLowerRows) {
  for (const Shape& shape :
       {Shape{65, 2, 32, 1024, 32}, Shape{20, 1, 128, 8000, 16}, Shape{66, 1, 32, 8000, 16},
        Shape{130, 4, 32, 512, 32}, Shape{33, 1, 7, 300, 16}, Shape{33, 1, 64, 130, 6}}) {
    for (const std::int64_t distinct : {1, 2, 5, 40}) {
      for (const std::int64_t run : {1, 4, 128}) {  // equal neighbours
        SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn
                                        << ", " << distinct << " distinct keys in runs of " << run);
        Problem p = problem(shape, true);
        const std::int64_t half_dim = shape.k_dim / 2;
        for (std::int64_t part = 0; part < 2 * shape.heads; ++part) {
          for (std::int64_t i = 0; i < shape.n_keys; ++i) {
            const std::int64_t same = i / run % distinct;
            std::copy_n(p.sub_keys.begin() + (part * shape.n_keys + same) * half_dim, half_dim,
                        p.sub_keys.begin() + (part * shape.n_keys + i) * half_dim);
          }
        }
        upload_problem(p);
        forward();
        ASSERT_EQ(download_integers(indices_), p.all_best_rows());
      }
    }
  }
}

// Half scores of 2^24 + c and of d < 2: their rounded sums tie where exact ones do not. The order
// is that of the exact sums.
TEST_P(ProductKey, RoundedSumsDoNotTie) {
  for (const Shape& shape : {Shape{70, 2, 32, 200, 16}, Shape{20, 1, 32, 1000, 16},
                             Shape{20, 1, 100, 300, 16}, Shape{9, 1, 5, 40, 6}}) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn);
    Problem p = problem(shape, true);
    const std::int64_t half_dim = shape.k_dim / 2;
    std::fill(p.query.begin(), p.query.end(), 0.0);
    std::fill(p.sub_keys.begin(), p.sub_keys.end(), 0.0);
    for (std::int64_t group = 0; group < p.groups(); ++group) {
      double* first = p.query.data() + group * shape.k_dim;
      first[0] = 4096;
      first[1] = 1;
      first[half_dim] = 1;
    }
    for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
      double* elements = p.sub_keys.data() + key * half_dim;
      if (key / shape.n_keys % 2 == 0) {
        elements[0] = 4096;
        elements[1] = 2.0 * static_cast<double>(integer(0, 20));
      } else {
        elements[0] = static_cast<double>(integer(0, 15)) / 8;
      }
    }
    upload_problem(p);
    forward();
    ASSERT_EQ(download_integers(indices_), p.all_best_rows());
  }
}

// Scores that rise with the sub-key, or fall: every chunk, or only the first, has what is best.
TEST_P(ProductKey, SortedScoresFindTheirEnds) {
  for (const Shape& shape :
       {Shape{40, 2, 32, 1024, 16}, Shape{3, 1, 32, 8000, 16}, Shape{9, 1, 100, 700, 16},
        Shape{20, 1, 3, 255, 16}, Shape{70, 2, 32, 2048, 16}, Shape{130, 1, 3, 255, 32}}) {
    for (const double sign : {1.0, -1.0}) {
      SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", sign " << sign);
      Problem p = problem(shape, false);
      const std::int64_t half_dim = shape.k_dim / 2;
      std::fill(p.query.begin(), p.query.end(), 0.0);
      std::fill(p.sub_keys.begin(), p.sub_keys.end(), 0.0);
      for (std::int64_t half = 0; half < 2 * p.groups(); ++half) {
        p.query[Problem::index(half * half_dim)] = 128;
        p.query[Problem::index(half * half_dim + 1)] = 1;
      }
      for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
        const std::int64_t i = key % shape.n_keys;
        p.sub_keys[Problem::index(key * half_dim)] = sign * static_cast<double>(i / 128);
        p.sub_keys[Problem::index(key * half_dim + 1)] = sign * static_cast<double>(i % 128);
      }
      upload_problem(p);
      forward();
      ASSERT_EQ(download_integers(indices_), p.all_best_rows());
    }
  }
}

TEST_P(ProductKey, EqualKeysGiveTheFirstRows) {
  for (const Shape& shape : {Shape{19, 2, 9, 40, 8}, Shape{90, 2, 9, 40, 16},
                             Shape{90, 1, 9, 64, 16}, Shape{90, 1, 9, 2048, 16}}) {
    SCOPED_TRACE(testing::Message() << "tokens " << shape.tokens << ", n_keys " << shape.n_keys);
    Problem p = problem(shape, false);
    std::fill(p.sub_keys.begin(), p.sub_keys.end(), 0.5);
    upload_problem(p);
    forward();
    const std::vector<std::int32_t> rows = download_integers(indices_);
    for (std::size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i], static_cast<int>(i % 9));
    for (const double weight : download(weights_)) EXPECT_NEAR(weight, 1.0 / 9, 1e-3);
  }
}

// Fewer sub-keys than knn have a score above minus infinity, and their pairs are enough.
TEST_P(ProductKey, SubKeysOfMinusInfinityComeLast) {
  for (const Shape& shape : {Shape{9, 1, 32, 50, 16}, Shape{70, 2, 32, 40, 16},
                             Shape{70, 1, 32, 1024, 32}, Shape{70, 1, 20, 2048, 272}}) {
    SCOPED_TRACE(testing::Message() << "tokens " << shape.tokens << ", n_keys " << shape.n_keys);
    Problem p = problem(shape, true);
    const std::int64_t half_dim = shape.k_dim / 2;
    for (std::int64_t half = 0; half < 2 * p.groups(); ++half) {
      p.query[Problem::index(half * half_dim)] = 1;
    }
    for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
      if (key % shape.n_keys % 4 == 0 && key % shape.n_keys < 40) continue;  // ten of them
      p.sub_keys[Problem::index(key * half_dim)] = -std::numeric_limits<double>::infinity();
    }
    upload_problem(p);
    forward();
    ASSERT_EQ(download_integers(indices_), p.all_best_rows());
  }
}

TEST_P(ProductKey, NotANumberStaysWithinTheTable) {
  for (const std::int64_t tokens : {33, 90}) {
    for (const std::int64_t n_keys : {50, 700}) {
      Problem p = problem({tokens, 2, 7, n_keys, 16}, false);
      const std::size_t poisoned_values = 5 * 2 * 16;  // the first five tokens
      std::fill_n(p.query.begin(), poisoned_values, std::nan(""));
      upload_problem(p);
      forward();
      for (const std::int32_t row : download_integers(indices_)) {
        EXPECT_GE(row, 0);
        EXPECT_LT(row, n_keys * n_keys);
      }
      const std::vector<double> weights = download(weights_);
      for (std::size_t i = 0; i < 5 * 2 * 7; ++i) EXPECT_TRUE(std::isnan(weights[i]));
      for (std::size_t i = 5 * 2 * 7; i < weights.size(); ++i) EXPECT_FALSE(std::isnan(weights[i]));
    }
  }
}

TEST_P(ProductKey, RefusesMoreNeighboursThanKeys) {
  if (context().on_cuda()) GTEST_SKIP() << "checked by the CPU reference";
  Problem p = problem({3, 1, 5, 4, 8}, false);
  upload_problem(p);
  EXPECT_THROW(forward(), Error);
}

TEST_P(ProductKey, OneBadKeyShowsInItsHead) {
  for (const std::int64_t tokens : {19, 90}) {
    Problem p = problem({tokens, 2, 7, 50, 16}, false);
    const std::size_t bad_key = (2 + 1) * 50 + 31;  // head 1, second half, key 31
    std::fill_n(p.sub_keys.begin() + bad_key * 8, 8, std::nan(""));
    upload_problem(p);
    forward();
    const std::vector<double> weights = download(weights_);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      EXPECT_EQ(std::isnan(weights[i]), i / 7 % 2 == 1) << "head " << i / 7 % 2;
    }
  }
}

// Every third token's best sub-keys all lie in a few columns of a chunk, so that some of the lists
// of candidates fill up and others, of the same block and warp, do not.
TEST_P(ProductKey, BestSubKeysInFewColumnsAreFound) {
  const std::function<bool(std::int64_t)> is_good[] = {
      [](std::int64_t i) { return i % 8 < 2; },  // what one lane has
      [](std::int64_t i) { return i % 8 < 4; },  // two lanes
      [](std::int64_t i) { return i % 128 < 32; }, [](std::int64_t i) { return i % 128 == 77; },
      [](std::int64_t i) { return i < 100; }};
  for (const Shape& shape : {Shape{300, 2, 32, 1024, 32}, Shape{150, 1, 20, 512, 128},
                             Shape{70, 1, 32, 8000, 16}, Shape{33, 1, 31, 200, 512}}) {
    for (std::size_t which = 0; which < std::size(is_good); ++which) {
      SCOPED_TRACE(testing::Message()
                   << "n_keys " << shape.n_keys << ", knn " << shape.knn << ", columns " << which);
      Problem p = problem(shape, true);
      const std::int64_t half_dim = shape.k_dim / 2;
      for (std::int64_t half = 0; half < 2 * p.groups(); ++half) {
        p.query[Problem::index(half * half_dim)] = half / 2 / shape.heads % 3 == 0 ? 8 : 0;
      }
      for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
        p.sub_keys[Problem::index(key * half_dim)] = is_good[which](key % shape.n_keys) ? 4 : 0;
      }
      upload_problem(p);
      forward();
      ASSERT_EQ(download_integers(indices_), p.all_best_rows());
    }
  }
}

// Sub-keys of ones and minus ones, all different: a query that is one of them has no nearer one.
// Tokens look for rows that are all distinct, or all for the same.
TEST_P(ProductKey, QueriesFindTheRowTheyAreMadeOf) {
  for (const Shape& shape : {Shape{4096, 1, 1, 64, 32}, Shape{2000, 2, 1, 300, 48},
                             Shape{257, 1, 1, 8000, 32}, Shape{77, 3, 1, 100, 22}}) {
    for (const bool distinct : {true, false}) {
      SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", k_dim " << shape.k_dim
                                      << (distinct ? ", distinct rows" : ", one row"));
      Problem p = problem(shape, true);
      const std::int64_t half_dim = shape.k_dim / 2;
      // The bits of i times an odd number, which are different for different i.
      const auto element = [&](std::int64_t i, std::int64_t bit) {
        return (i * 40503 + 11) % (std::int64_t{1} << std::min<std::int64_t>(half_dim, 16)) >>
                           (bit % 16) &
                       1
                   ? 1.0
                   : -1.0;
      };
      for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
        for (std::int64_t d = 0; d < half_dim; ++d) {
          p.sub_keys[Problem::index(key * half_dim + d)] = element(key % shape.n_keys, d);
        }
      }
      std::vector<std::int32_t> wanted;
      for (std::int64_t group = 0; group < p.groups(); ++group) {
        const std::int64_t rows = shape.n_keys * shape.n_keys;
        const std::int64_t row = distinct ? group * (rows / p.groups()) : rows * 2 / 3;
        wanted.push_back(static_cast<std::int32_t>(row));
        for (std::int64_t d = 0; d < shape.k_dim; ++d) {
          p.query[Problem::index(group * shape.k_dim + d)] =
              d < half_dim ? element(row / shape.n_keys, d)
                           : element(row % shape.n_keys, d - half_dim);
        }
      }
      upload_problem(p);
      forward();
      ASSERT_EQ(download_integers(indices_), wanted);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ProductKey, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine::product_key_testing
