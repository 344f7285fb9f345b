// The benchmark runs on the CPU, counts what it should, and its JSON can be read.
#include "engine/bench/bench.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/bench/cases.h"
#include "engine/bench/compare.h"
#include "engine/bench/ops/ops.h"
#include "engine/bench/ops/workbench.h"
#include "engine/bench/report.h"
#include "engine/bench/timing.h"
#include "io/shards/shard_writer.h"
#include "tests/engine/bench/tiny_config.h"

namespace memengine::bench {
namespace {

const std::string tiny = tiny_config("mem_query_norm: layernorm");

// One thread: on a busy machine tiny ops mostly wait for each other's threads.
class Bench : public testing::Test {
 protected:
  void SetUp() override { omp_set_num_threads(1); }
  void TearDown() override { omp_set_num_threads(threads_); }

 private:
  int threads_ = omp_get_max_threads();
};

BenchOptions tiny_options() {
  BenchOptions options;
  options.quick = true;
  options.config = write_temporary("bench_tiny.yaml", tiny);
  return options;
}

std::string error_of(const BenchOptions& options) {
  try {
    run_bench(options, [](const std::string&) {});
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    return error.what();
  }
  return "no error";
}

TEST_F(Bench, MedianIsTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 2}), 2);
  EXPECT_EQ(median({9, 1, 2, 4}), 3);
}

TEST_F(Bench, PicksAreInRangeAndAsSkewedAsTheySay) {
  constexpr std::int64_t count = 100000;
  for (const std::int64_t rows : {std::int64_t{1}, std::int64_t{989}, std::int64_t{1} << 20}) {
    for (const PickPattern pattern : {PickPattern::uniform, PickPattern::skewed}) {
      for (const std::int32_t pick : random_picks(pattern, count, rows, 1)) {
        ASSERT_GE(pick, 0);
        ASSERT_LT(pick, rows);
      }
    }
  }
  const auto distinct = [&](PickPattern pattern) {
    const std::vector<std::int32_t> picks = random_picks(pattern, count, 1 << 20, 2);
    return static_cast<double>(std::set(picks.begin(), picks.end()).size()) / count;
  };
  EXPECT_GT(distinct(PickPattern::uniform), 0.9);
  EXPECT_GT(distinct(PickPattern::skewed), 0.01);
  EXPECT_LT(distinct(PickPattern::skewed), 0.12);
}

TEST_F(Bench, ProfilesAConfigAndWritesJson) {
  BenchOptions options = tiny_options();
  options.profiled = {"bench_tiny"};
  options.json_path = testing::TempDir() + "/bench_tiny.json";
  std::string text;
  const Results results = run_bench(options, [&](const std::string& line) { text += line + "\n"; });
  EXPECT_NE(text.find("the ten costliest ops of bench_tiny"), std::string::npos) << text;

  std::map<std::string, double> calls;
  for (const OpResult& op : results.ops) {
    EXPECT_GT(op.seconds, 0) << op.op;
    EXPECT_GT(op.limit == Limit::matrix ? op.flops : op.bytes, 0) << op.op;
    calls[op.op] = std::max(calls[op.op], op.calls_per_step);
  }
  EXPECT_EQ(calls.at("attention forward"), 3);
  EXPECT_EQ(calls.at("rms_norm forward, residual"), 6);
  EXPECT_EQ(calls.at("rms_norm backward"), 7);
  EXPECT_EQ(calls.at("swiglu forward"), 1);
  EXPECT_EQ(calls.at("product_key forward"), 2);
  EXPECT_EQ(calls.at("layer_norm backward"), 2);
  EXPECT_EQ(calls.at("embedding_bag backward rows"), 1);
  EXPECT_EQ(calls.at("sparse_adam"), 1);

  ASSERT_EQ(results.steps.size(), 1U);
  const StepResult& step = results.steps.front();
  EXPECT_EQ(step.failure, "");
  EXPECT_EQ(step.tokens, 38);
  EXPECT_GT(step.seconds, 0);
  EXPECT_GT(step.loss, 0);
  EXPECT_EQ(step.picks, 2 * 38 * 8);
  EXPECT_GT(step.unique_rows, 0);

  std::ifstream file(options.json_path);
  const nlohmann::json json = nlohmann::json::parse(file);
  EXPECT_EQ(json.at("ops").size(), results.ops.size());
  EXPECT_EQ(json.at("steps").at(0).at("tokens").get<int>(), 38);
  EXPECT_FALSE(json.at("ceilings").empty());
}

TEST_F(Bench, FloorIsTheLargestOfBytesOperationsAndCache) {
  Ceilings ceilings;
  ceilings.memory = 100;
  ceilings.l2 = 400;
  ceilings.matrix_f32 = 1000;
  ceilings.link_read = 10;
  const auto floor_of = [&](const Work& work) { return floor_seconds(work, ceilings, false); };
  EXPECT_DOUBLE_EQ(floor_of({.bytes = 200}), 2);
  EXPECT_DOUBLE_EQ(floor_of({.bytes = 2000, .distinct_bytes = 100}), 5);
  EXPECT_DOUBLE_EQ(floor_of({.bytes = 200, .flops = 9000, .distinct_bytes = 100}), 9);
  EXPECT_DOUBLE_EQ(floor_of({.bytes = 200, .limit = Limit::link_read}), 20);
  ceilings.l2 = 0;  // unknown
  EXPECT_DOUBLE_EQ(floor_of({.bytes = 2000, .distinct_bytes = 100}), 1);
}

TEST_F(Bench, TellsWhatChangedSinceARecord) {
  const auto op = [](const char* name, const char* shape, double seconds) {
    OpResult result;
    result.bench_case = "tiny";
    result.op = name;
    result.shape = shape;
    result.seconds = seconds;
    return result;
  };
  Results old;
  old.device = "a machine";
  old.ops = {op("sort", "[9] of 4, uniform: 44% distinct", 2e-3), op("sum", "[9]", 1e-3),
             op("gone", "[9]", 1e-3), op("slower", "[9]", 1e-3)};
  old.steps.resize(1);
  old.steps[0].bench_case = "tiny";
  old.steps[0].seconds = 8e-3;
  const std::string path = testing::TempDir() + "/bench_old.json";
  std::ofstream(path) << to_json(old);

  Results now = old;
  now.ops = {op("sort", "[9] of 4, uniform: 45% distinct", 1e-3), op("sum", "[9]", 1.01e-3),
             op("new", "[9]", 3e-3), op("slower", "[9]", 1.5e-3)};
  for (const char* name : {"one", "two"}) {
    now.ops.push_back(op(name, "[9]", 7e-3));
    now.ops.back().bench_case = "another";
  }
  now.steps[0].seconds = 6e-3;
  const std::string text = changes_since(read_record(path), now);
  const auto place = [&](const char* words) {
    const std::size_t found = text.find(words);
    EXPECT_NE(found, std::string::npos) << words << " in\n" << text;
    return found;
  };
  EXPECT_LT(place("8.0000 ->    6.0000 ms  x 0.75"), place("2.0000 ->    1.0000 ms  x 0.50"));
  EXPECT_LT(place("2.0000 ->    1.0000 ms"), place("1.0000 ->    1.5000 ms  x 1.50"));
  place("1 times within 2%");
  EXPECT_LT(place("new"), place("3.0000 ms, not in the record"));
  EXPECT_LT(place("gone"), place("1.0000 ms, only in the record"));
  place("  another: not in the record");
  EXPECT_EQ(text.find("7.0000"), std::string::npos) << text;
}

TEST_F(Bench, ARecordThatIsNoneIsSaidBeforeAnythingIsMeasured) {
  BenchOptions options = tiny_options();
  options.ops = true;
  options.against = testing::TempDir() + "/no_such_record.json";
  EXPECT_NE(error_of(options).find("no_such_record.json: cannot open the file"), std::string::npos)
      << error_of(options);
  std::ofstream(options.against) << "{\"device\": 3}";
  EXPECT_NE(error_of(options).find("is no record"), std::string::npos);
  std::filesystem::remove(options.against);
}

TEST_F(Bench, RowsOfAHostTableComeAndGoOnceAStep) {
  BenchOptions options = tiny_options();
  options.ops = true;
  options.overrides = {"model.productkey_args.zero_copy=true"};
  std::map<std::string, const OpResult*> ops;
  const Results results = run_bench(options, [](const std::string&) {});
  for (const OpResult& op : results.ops) ops.try_emplace(op.op, &op);  // uniform picks come first
  const OpResult& exchange = *ops.at("exchange_rows alone, with its plan");
  EXPECT_EQ(exchange.calls_per_step, 0.5);  // a call goes there and back
  EXPECT_GT(exchange.bytes, 0);
  EXPECT_EQ(ops.at("sparse_adam")->calls_per_step, 1);
  EXPECT_EQ(ops.at("sparse_adam in the table")->calls_per_step, 0);
}

TEST_F(Bench, AStepThatDoesNotFitIsTold) {
  BenchOptions options = tiny_options();
  options.steps = true;
  options.overrides = {"model.productkey_args.mem_n_keys=46000", "model.dim=1024",
                       "model.n_heads=16"};
  const Results results = run_bench(options, [](const std::string&) {});
  ASSERT_EQ(results.steps.size(), 1U);
  EXPECT_NE(results.steps.front().failure.find("mem_n_keys"), std::string::npos)
      << results.steps.front().failure;
  EXPECT_NE(to_json(results).find("failure"), std::string::npos);
}

TEST_F(Bench, DecodingCountsNewTokensOrThePromptsOwn) {
  BenchOptions options = tiny_options();
  options.decode = true;
  std::string said;
  const Results results = run_bench(options, [&](const std::string& line) { said += line + '\n'; });
  ASSERT_EQ(results.decodes.size(), 3U);
  for (const DecodeResult& result : results.decodes) {
    EXPECT_EQ(result.failure, "");
    const std::int64_t counted = result.new_tokens == 1 ? result.prompt : result.new_tokens;
    EXPECT_NEAR(result.tokens_per_second() * result.seconds,
                static_cast<double>(result.sequences * counted), 1e-6);
  }
  EXPECT_EQ(results.decodes.back().new_tokens, 1);
  if (options.device == Device::cpu) {
    EXPECT_GT(results.decodes.front().bytes_per_token, 0);
    EXPECT_GT(results.decodes.front().memory_rate, 0);
    EXPECT_NE(said.find("of the memory's"), std::string::npos) << said;
  }
  EXPECT_NE(said.find("the prompt's tokens"), std::string::npos) << said;
  EXPECT_NE(to_json(results).find("\"decodes\""), std::string::npos);
}

TEST_F(Bench, StepsOnShards) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "bench_shards";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ShardInfo info;
  info.tokenizer = "bytes";
  info.vocab_size = 64;
  ShardWriter writer(folder / "train_000000.bin", info);
  writer.append(std::vector<std::int32_t>(1000, 7));
  writer.add_document();
  writer.finish();

  BenchOptions options = tiny_options();
  options.steps = true;
  options.overrides = {"optim.warmup=0", "optim.lr=1e-2", "grad_acc_steps=2"};
  options.data = folder.string();
  options.warm_up = 30;
  options.quick = false;
  Results results = run_bench(options, [](const std::string&) {});
  ASSERT_EQ(results.steps.size(), 1U);
  EXPECT_EQ(results.steps.front().failure, "");
  EXPECT_LT(results.steps.front().loss, 1) << "one token over and over was not learned";

  options.data = (folder / "nowhere").string();
  EXPECT_NE(error_of(options).find("--data"), std::string::npos);
}

TEST_F(Bench, WhatTheGuardCosts) {
  BenchOptions options = tiny_options();
  options.steps = options.guards = true;
  std::string text;
  const Results results = run_bench(options, [&](const std::string& line) { text += line + "\n"; });
  const StepResult& step = results.steps.front();
  EXPECT_EQ(step.failure, "");
  EXPECT_GT(step.seconds_unguarded, 0);
  EXPECT_LT(step.seconds_guarded, 2 * step.seconds_unguarded);
  EXPECT_NE(text.find("ms with the guard"), std::string::npos) << text;
  EXPECT_NE(to_json(results).find("ms_unguarded"), std::string::npos);
}

TEST_F(Bench, AConfigWithoutAVocabularyTakesItsTokenizers) {
  std::string yaml = tiny;
  yaml.replace(yaml.find("  vocab_size: 64\n"), 17, "");
  const std::string path = write_temporary("bench_bytes.yaml", yaml);
  EXPECT_EQ(case_of_config(path, {}).config.model.vocab_size, 258);
  EXPECT_EQ(case_of_config(path, {}).note, "");
  EXPECT_EQ(case_of_config(path, {"model.vocab_size=300"}).config.model.vocab_size, 300);
  // Without the tokenizer's file something must be assumed, and that is said.
  const BenchCase without = case_of_config(path, {"data.tokenizer={name: sp, path: no/such}"});
  EXPECT_EQ(without.config.model.vocab_size, 32000);
  EXPECT_NE(without.note.find("a vocabulary of 32000 is assumed"), std::string::npos);
  BenchOptions options = tiny_options();
  options.config = path;
  options.overrides = {"data.tokenizer={name: sp, path: no/such}", "distributed.model_dtype=bf16"};
  options.steps = true;
  std::string text;
  run_bench(options, [&](const std::string& line) { text += line + "\n"; });
  EXPECT_NE(text.find("note: bench_bytes: a vocabulary of 32000"), std::string::npos) << text;
  EXPECT_NE(text.find("the CPU computes in FP32"), std::string::npos) << text;
}

TEST_F(Bench, InputErrors) {
  BenchOptions options;
  EXPECT_NE(error_of(options).find("nothing to do"), std::string::npos);
  options.steps = true;
  options.cases = {"no_such_case"};
  EXPECT_NE(error_of(options).find("no case 'no_such_case'"), std::string::npos);
  options.cases.clear();
  options.overrides = {"steps=3"};
  EXPECT_NE(error_of(options).find("--config"), std::string::npos);
  options = tiny_options();
  options.steps = true;
  options.overrides = {"model.no_such_key=1"};
  EXPECT_NE(error_of(options).find("no_such_key"), std::string::npos);
  options = tiny_options();
  options.ops = true;
  options.json_path = testing::TempDir() + "/no/such/folder/bench.json";
  EXPECT_NE(error_of(options).find("cannot write"), std::string::npos);
}

}  // namespace
}  // namespace memengine::bench
