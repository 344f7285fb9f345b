// A benchmark of several ranks: what it measures and says.
#include "engine/bench/ranks/ranks_bench.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/bench/ranks/ranks_report.h"
#include "engine/bench/report.h"
#include "kernels/runtime/error.h"
#include "tests/engine/bench/tiny_config.h"
#include "tests/support/ranks.h"

namespace memengine::bench {
namespace {

BenchOptions options_of_ranks() {
  BenchOptions options;
  options.quick = true;
  // Two layers of one table.
  options.config = write_temporary(
      "ranks_bench_tiny.yaml", tiny_config("mem_share_values: true, mem_query_norm: batchnorm"));
  return options;
}

TEST(RanksBench, TellsTheRatioAndWhatEachExchangeTakesAndSends) {
  if (mpi_ranks() != nullptr) GTEST_SKIP() << "of three ranks";
  omp_set_num_threads(1);
  BenchOptions options = options_of_ranks();
  options.json_path = testing::TempDir() + "/ranks_bench.json";
  Results results;
  std::string text;
  on_ranks(3, [&](Communicator& ranks) {
    omp_set_num_threads(1);
    const bool first = ranks.rank() == 0;
    const Results found = run_ranks_bench(options, ranks, [&](const std::string& line) {
      if (first) text += line + "\n";
    });
    if (first) results = found;
  });
  ASSERT_EQ(results.ranks.size(), 1U);
  const RanksResult& result = results.ranks.front();
  EXPECT_EQ(result.one.failure + result.all.failure, "");
  EXPECT_EQ(result.one.tokens, 38);
  EXPECT_EQ(result.all.tokens, 3 * 38);
  EXPECT_GT(result.ratio(), 0);
  EXPECT_DOUBLE_EQ(result.ratio(), 3 * result.one.seconds / result.all.seconds);
  EXPECT_GT(result.all.loss, 0);
  std::map<std::string, ExchangeShare> shares;
  double seconds = 0;
  for (const ExchangeShare& share : result.exchanges) {
    shares[share.purpose] = share;
    seconds += share.seconds;
    EXPECT_GT(share.seconds, 0) << share.purpose;
  }
  EXPECT_LT(seconds, 10 * result.seconds_observed);
  // Two lookups and the step's gradients.
  EXPECT_EQ(shares.at("row counts").calls, 3);
  EXPECT_EQ(shares.at("row counts").bytes, 3 * 2 * 4);
  EXPECT_EQ(shares.at("row numbers").calls, 3);
  EXPECT_GT(shares.at("row numbers").bytes, 0);
  EXPECT_EQ(shares.at("rows").calls, 2);
  EXPECT_EQ(shares.at("row gradients").calls, 1);
  EXPECT_GT(shares.at("row gradients").bytes, 0);
  EXPECT_EQ(shares.at("loss").calls, 1);
  EXPECT_DOUBLE_EQ(shares.at("loss").bytes, 2.0 * 2 / 3 * 8);
  EXPECT_DOUBLE_EQ(shares.at("norm of row gradients").bytes, 2.0 * 2 / 3 * 8);
  EXPECT_GT(shares.at("dense gradients").bytes, 0);
  EXPECT_GT(shares.at("batch norm").calls, 0);

  EXPECT_NE(text.find("3 ranks, each on CPU"), std::string::npos) << text;
  EXPECT_NE(text.find("% of the step"), std::string::npos) << text;
  EXPECT_EQ(text.find("host memory"), std::string::npos) << "there is no table in it\n" << text;
  std::ifstream file(options.json_path);
  const nlohmann::json json = nlohmann::json::parse(file);
  EXPECT_EQ(json.at("ranks").at(0).at("all").at("tokens").get<int>(), 3 * 38);
  EXPECT_EQ(json.at("ranks").at(0).at("exchanges").size(), result.exchanges.size());
}

TEST(RanksBench, WhatIsReadAtOthersIsToldWhereNothingIsSent) {
  if (mpi_ranks() != nullptr) GTEST_SKIP() << "of two ranks";
  const BenchOptions options = options_of_ranks();
  std::vector<RanksResult> read(2), sent(2);
  for (const bool shares : {true, false}) {
    on_ranks(
        2,
        [&](Communicator& ranks) {
          omp_set_num_threads(1);
          const Results found = run_ranks_bench(options, ranks, [](const std::string&) {});
          (shares ? read : sent)[static_cast<std::size_t>(ranks.rank())] = found.ranks.front();
        },
        shares);
  }
  const auto share = [](const RanksResult& result, const std::string& purpose) {
    for (const ExchangeShare& exchange : result.exchanges) {
      if (exchange.purpose == purpose) return exchange;
    }
    return ExchangeShare{};
  };
  for (const char* only_sent : {"rows", "row numbers", "row counts", "row gradients"}) {
    EXPECT_EQ(share(read[0], only_sent).calls, 0) << only_sent;
    EXPECT_GT(share(sent[0], only_sent).calls, 0) << only_sent;
  }
  // 256 rows of 16 BF16 numbers, two lookups; gradients in FP32.
  const ExchangeShare rows = share(read[0], "rows, read at their owners");
  EXPECT_EQ(rows.calls, 2);
  EXPECT_GT(rows.bytes, 0);
  EXPECT_LE(rows.bytes, 2 * 128 * 16 * 2);
  EXPECT_EQ(static_cast<std::int64_t>(rows.bytes) % 32, 0);
  EXPECT_LE(share(read[0], "row gradients, read by owners").bytes, 128 * 16 * 4);
  EXPECT_GE(share(read[0], "waits before reading at others").calls, 3);
  EXPECT_NEAR(read[0].all.loss, sent[0].all.loss, 1e-4);
}

TEST(RanksBench, AModelThatDoesNotFitIsToldByAll) {
  if (mpi_ranks() != nullptr) GTEST_SKIP() << "of two ranks";
  BenchOptions options = options_of_ranks();
  options.overrides = {"model.productkey_args.mem_n_keys=46000", "model.dim=1024",
                       "model.n_heads=16"};
  std::string text;
  on_ranks(2, [&](Communicator& ranks) {
    const Results found = run_ranks_bench(options, ranks, [&](const std::string& line) {
      if (ranks.rank() == 0) text += line + "\n";
    });
    ASSERT_EQ(found.ranks.size(), 1U);
    EXPECT_NE(found.ranks.front().all.failure, "");
    EXPECT_EQ(found.ranks.front().ratio(), 0);
  });
  EXPECT_NE(text.find("does not run"), std::string::npos) << text;
  EXPECT_NE(text.find("mem_n_keys"), std::string::npos) << text;
}

TEST(RanksBench, OnlyWholeStepsAreMeasured) {
  Communicator alone;
  BenchOptions options = options_of_ranks();
  options.decode = true;
  try {
    run_ranks_bench(options, alone, [](const std::string&) {});
    FAIL() << "decoding was measured";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    EXPECT_NE(std::string(error.what()).find("whole steps"), std::string::npos);
  }
}

}  // namespace
}  // namespace memengine::bench
