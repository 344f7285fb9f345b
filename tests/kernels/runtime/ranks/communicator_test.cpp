// What the communicators promise, between threads and (under mpirun) between processes.
#include "kernels/runtime/communicator.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "kernels/runtime/runtime.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

class Ranks : public testing::TestWithParam<int> {};

std::vector<double> numbers_of(int rank, std::size_t count) {
  std::mt19937_64 random(static_cast<std::uint64_t>(rank) + 5);
  std::uniform_real_distribution<double> draw(-1e6, 1e6);
  std::vector<double> numbers(count);
  for (double& number : numbers) number = draw(random);
  return numbers;
}

TEST_P(Ranks, SumsAreTakenInTheOrderOfRanks) {
  // More than are summed at once, and fewer than there are ranks.
  for (const std::size_t count : {std::size_t{1}, std::size_t{19}, std::size_t{300'001}}) {
    on_ranks(GetParam(), [&](Communicator& ranks) {
      const Context context{};
      std::vector<double> sums = numbers_of(ranks.rank(), count);
      std::vector<float> floats(sums.begin(), sums.end());
      std::vector<std::int32_t> integers(sums.begin(), sums.end());
      std::vector<double> expected(count), of_floats(count);
      std::vector<std::int32_t> of_integers(count);
      for (int r = 0; r < ranks.size(); ++r) {
        const std::vector<double> theirs = numbers_of(r, count);
        for (std::size_t i = 0; i < count; ++i) {
          expected[i] += theirs[i];
          of_floats[i] += static_cast<float>(theirs[i]);
          of_integers[i] += static_cast<std::int32_t>(theirs[i]);
        }
      }
      const auto n = static_cast<std::int64_t>(count);
      ranks.all_reduce_sum(context, Tensor(sums.data(), DType::f64, {n}));
      ranks.all_reduce_sum(context, Tensor(floats.data(), DType::f32, {n}));
      ranks.all_reduce_sum(context, Tensor(integers.data(), DType::i32, {n}));
      EXPECT_EQ(sums, expected);
      EXPECT_EQ(floats, std::vector<float>(of_floats.begin(), of_floats.end()));
      EXPECT_EQ(integers, of_integers);
    });
  }
}

// Rank r sends (r + 2 t) % 4 numbers to rank t, so that some parts are empty.
TEST_P(Ranks, EverybodyGetsItsParts) {
  on_ranks(GetParam(), [](Communicator& ranks) {
    const auto numbers = [](int from, int to) { return (from + 2 * to) % 4; };
    std::vector<std::int32_t> sent, expected;
    std::vector<std::int64_t> sent_bytes, received_bytes;
    for (int r = 0; r < ranks.size(); ++r) {
      for (int i = 0; i < numbers(ranks.rank(), r); ++i) sent.push_back(100 * ranks.rank() + r);
      for (int i = 0; i < numbers(r, ranks.rank()); ++i) expected.push_back(100 * r + ranks.rank());
      sent_bytes.push_back(4 * numbers(ranks.rank(), r));
      received_bytes.push_back(4 * numbers(r, ranks.rank()));
    }
    std::vector<std::int32_t> received(expected.size());
    ranks.all_to_all(Context{}, received.data(), received_bytes, sent.data(), sent_bytes);
    EXPECT_EQ(received, expected);
  });
}

TEST_P(Ranks, EverybodyHearsOfEverybody) {
  on_ranks(GetParam(), [](Communicator& ranks) {
    std::int32_t mine[2] = {ranks.rank(), -ranks.rank()};
    std::vector<std::int32_t> all(static_cast<std::size_t>(2 * ranks.size()));
    ranks.all_gather(Context{}, Tensor(all.data(), DType::i32, {2 * ranks.size()}),
                     Tensor(mine, DType::i32, {2}));
    for (int r = 0; r < ranks.size(); ++r) {
      EXPECT_EQ(all[static_cast<std::size_t>(2 * r)], r);
      EXPECT_EQ(all[static_cast<std::size_t>(2 * r + 1)], -r);
    }
    double said = ranks.rank() + 0.5;
    ranks.broadcast(Context{}, Tensor(&said, DType::f64, {1}), ranks.size() - 1);
    EXPECT_EQ(said, ranks.size() - 0.5);
    EXPECT_EQ(ranks.sum(std::int64_t{ranks.rank() + 1}), ranks.size() * (ranks.size() + 1) / 2);
    EXPECT_EQ(ranks.largest(ranks.rank()), ranks.size() - 1);
    ranks.barrier();
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, testing::Values(1, 2, 3, 4));

// Between processes: who waits for others that do not come goes when its patience is at an end,
// when its watch says so, and when it is told to. Each in a communicator of its own, as each is its
// last.
TEST(RanksOverMpi, WaitsEnd) {
  Communicator* ranks = mpi_ranks();
  if (ranks == nullptr) GTEST_SKIP() << "not started by mpirun";
  const auto wait_alone = [&](auto&& prepare, const char* expected) {
    const std::unique_ptr<Communicator> others = mpi_communicator();
    if (others->rank() == 0) {
      prepare(*others);
      try {
        others->barrier();
        ADD_FAILURE() << "nobody came, and it did not wait";
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
      }
      EXPECT_THROW(others->barrier(), Error);
    }
    ranks->barrier();
  };
  wait_alone([](Communicator& others) { others.set_patience(0.05); }, "in vain");
  wait_alone([](Communicator& others) { others.set_watch([] { fail_input("watched"); }); },
             "watched");
  std::thread later;
  wait_alone(
      [&](Communicator& others) {
        later = std::thread([&] {
          std::this_thread::sleep_for(std::chrono::milliseconds(50));
          others.abort();
        });
      },
      "stopped while waiting for rank 1");
  if (later.joinable()) later.join();
}

}  // namespace
}  // namespace memengine
