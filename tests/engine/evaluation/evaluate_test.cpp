// Tokenizing requests, running tasks on a model of known answers, and what is written about it.
#include "engine/evaluation/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/evaluation/report.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

// One token a byte, and BOS (256) in front.
Ids ids_of_bytes(std::string_view text) {
  Ids ids = {256};
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string decode_bytes(const Ids& ids) {
  std::string text;
  for (const std::int32_t id : ids) {
    if (id < 256) text += static_cast<char>(id);
  }
  return text;
}

// Prefers continuations with an "x" early, and completes every prompt with a fixed text.
class KnownModel : public LanguageModel {
 public:
  explicit KnownModel(int max_length = 4096) : max_length_(max_length) {}
  int max_length() const override { return max_length_; }

  std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                            const EvalProgress& progress) override {
    std::vector<Loglikelihood> answers;
    for (const LoglikelihoodRequest& request : requests) {
      const std::string text = decode_bytes(request.continuation);
      EXPECT_LE(request.context.size() + request.continuation.size(), max_length_ + 1U);
      answers.push_back({-0.5 - static_cast<double>(std::min(text.find('x'), text.size())),
                         text.find('x') < text.size()});
      if (progress) progress(answers.size(), requests.size());
    }
    return answers;
  }

  std::vector<std::string> generate(std::span<const GenerationRequest> requests,
                                    const EvalProgress&) override {
    std::vector<std::string> texts;
    for (const GenerationRequest& request : requests) {
      prompts.push_back(decode_bytes(request.prompt));
      EXPECT_LE(request.prompt.size() + request.max_gen_tokens, max_length_ + 0U);
      texts.push_back(completion(prompts.back()));
    }
    return texts;
  }

  std::function<std::string(const std::string&)> completion;
  std::vector<std::string> prompts;

 private:
  int max_length_;
};

class EvalFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() /
            ("memengine_eval_run_" + std::to_string(std::random_device()()));
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file, std::ios::binary) << text;
  }
  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  fs::path root_;
};

TEST(EvalRequests, SpacesMoveAndTheLeftIsCut) {
  const auto pairs = encode_pairs(ids_of_bytes, "ab \n", {" cd", "e"}, 100, "f:1");
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].context, (Ids{256, 'a', 'b'}));
  EXPECT_EQ(decode_bytes(pairs[0].continuation), " \n cd");
  EXPECT_EQ(decode_bytes(pairs[1].continuation), " \ne");

  for (const int max_length : {3, 4, 5, 6}) {
    const auto cut = encode_pairs(ids_of_bytes, "abcd", {"xyz"}, max_length, "f:1");
    const Ids whole = ids_of_bytes("abcdxyz");
    Ids joined = cut[0].context;
    joined.insert(joined.end(), cut[0].continuation.begin(), cut[0].continuation.end());
    EXPECT_EQ(joined, Ids(whole.end() - (max_length + 1), whole.end()));
    EXPECT_EQ(cut[0].continuation.size(), 3U);
  }
  EXPECT_THROW(encode_pairs(ids_of_bytes, "abcd", {"xyz"}, 2, "f:1"), Error);
  EXPECT_THROW(encode_pairs(ids_of_bytes, "abcd", {""}, 9, "f:1"), Error);
  const EncodeText plain = [](std::string_view text) { return Ids(text.begin(), text.end()); };
  EXPECT_THROW(encode_pairs(plain, " ", {"x"}, 9, "f:1"), Error);

  // A tokenizer that merges across the border: the continuation is what the whole has beyond as
  // many tokens as the context alone.
  const EncodeText pairs_of_two = [](std::string_view text) {
    Ids ids;
    for (std::size_t i = 0; i < text.size(); i += 2)
      ids.push_back(static_cast<int>(text.size() - i));
    return ids;
  };
  const auto merged = encode_pairs(pairs_of_two, "abc", {"def"}, 9, "f:1");
  EXPECT_EQ(merged[0].context, (Ids{3, 1}));
  EXPECT_EQ(merged[0].continuation, (Ids{2}));

  EXPECT_EQ(encode_prompt(ids_of_bytes, "abcdef", {}, 6, 10).prompt, (Ids{'c', 'd', 'e', 'f'}));
  EXPECT_EQ(encode_prompt(ids_of_bytes, "ab", {}, 6, 10).prompt, (Ids{256, 'a', 'b'}));
  EXPECT_THROW(encode_prompt(ids_of_bytes, "ab", {}, 10, 10), Error);
}

TEST_F(EvalFolder, RunsTasksAndWritesFiles) {
  write("piqa/validation.jsonl",
        R"({"goal":"g1","sol1":"x","sol2":"b","label":0})"
        "\n"
        R"({"goal":"g2","sol1":"ax","sol2":"bbbbbbbbbx","label":1})"
        "\n"
        R"({"goal":"g3","sol1":"long ax","sol2":"bxxxxxx\u00e9","label":0})"
        "\n");
  write("nq_open/validation.jsonl", R"({"question":"who","answer":["The Bob's","it's"]})"
                                    "\n"
                                    R"({"question":"what","answer":["nothing"]})"
                                    "\n");
  KnownModel model;
  model.completion = [](const std::string&) { return " bobs, or not\nQ:"; };
  std::size_t progressed = 0;
  EvalOptions options;
  options.tasks = {{"piqa", 1}, {"nq_open", 0}};
  options.data_root = root_;
  const auto results =
      evaluate(model, ids_of_bytes, options,
               [&](const std::string&, std::size_t done, std::size_t) { progressed = done; });
  EXPECT_EQ(progressed, 6U);
  ASSERT_EQ(results.size(), 2U);
  // acc picks sol1, sol1, sol2: one of three right. acc_norm: -1.5/1 to -2.5/1 (no "x" in " b");
  // -2.5/2 to -10.5/10; -6.5/7 to -2.5/8.
  ASSERT_EQ(results[0].metrics.size(), 2U);
  EXPECT_EQ(results[0].metrics[0].name, "acc");
  EXPECT_DOUBLE_EQ(results[0].metrics[0].value, 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(results[0].metrics[1].value, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(*results[0].metrics[0].standard_error, 1.0 / 3.0);
  EXPECT_EQ(model.prompts[0], "Answer these questions:\n\nQ: who?\nA:");
  EXPECT_EQ(results[1].samples[0].generated, " bobs");
  EXPECT_EQ(results[1].samples[0].answer, "bobs");
  EXPECT_DOUBLE_EQ(results[1].metrics[0].value, 0.5);

  EvalRunDescription run;
  run.model_name = "runs/\xFF";  // a path need not be UTF-8
  write_eval_files(root_ / "out" / "here", results, run, true);
  const auto json = nlohmann::json::parse(read(root_ / "out/here/results.json"));
  EXPECT_EQ(json["results"]["piqa"]["acc,none"], 1.0 / 3.0);
  EXPECT_EQ(json["results"]["piqa"]["sample_len"], 3);
  EXPECT_EQ(json["results"]["nq_open"]["exact_match,remove_whitespace"], 0.5);
  EXPECT_EQ(json["results"]["nq_open"]["exact_match_stderr,remove_whitespace"], 0.5);
  EXPECT_EQ(json["n-shot"]["piqa"], 1);
  EXPECT_EQ(json["versions"]["nq_open"], 4.0);
  EXPECT_EQ(json["n-samples"]["piqa"]["effective"], 3);

  std::istringstream samples(read(root_ / "out/here/samples_piqa.jsonl"));
  std::string line;
  ASSERT_TRUE(std::getline(samples, line));
  const auto sample = nlohmann::json::parse(line);
  EXPECT_EQ(sample["doc"]["goal"], "g1");
  EXPECT_EQ(sample["arguments"]["gen_args_1"]["arg_1"], " b");
  EXPECT_EQ(sample["resps"][0][0][0], "-1.5");
  EXPECT_EQ(sample["filtered_resps"][1][1], "False");
  EXPECT_EQ(sample["acc"], 1.0);
  const auto nq = nlohmann::json::parse(
      read(root_ / "out/here/samples_nq_open.jsonl")
          .substr(0, read(root_ / "out/here/samples_nq_open.jsonl").find('\n')));
  EXPECT_EQ(nq["target"], "[\"The Bob's\", \"it's\"]");
  EXPECT_EQ(nq["resps"][0][0], " bobs");
  EXPECT_EQ(nq["filter"], "remove_whitespace");

  const std::string table = eval_table(results);
  EXPECT_NE(table.find("0.3333 ± 0.3333"), std::string::npos) << table;
  EXPECT_NE(table.find("1 (validation)"), std::string::npos) << table;
  write("a_file", "");
  EXPECT_THROW(write_eval_files(root_ / "a_file", results, run, false), Error);
}

TEST_F(EvalFolder, LimitsAndErrors) {
  std::string lines;
  for (int i = 0; i < 19; ++i) {
    lines += R"({"question":"q)" + std::to_string(i) + R"(","answer":["a"]})" + "\n";
  }
  write("nq_open/validation.jsonl", lines);
  KnownModel model;
  model.completion = [](const std::string&) { return "a"; };
  const auto items = [&](double limit) {
    EvalOptions options;
    options.tasks = {{"nq_open", 2}};
    options.data_root = root_;
    options.limit = limit;
    const auto results = evaluate(model, ids_of_bytes, options);
    EXPECT_EQ(results[0].metrics[0].value, 1.0);
    return results[0].samples.size();
  };
  EXPECT_EQ(items(0), 19U);
  EXPECT_EQ(items(1), 1U);
  EXPECT_EQ(items(7), 7U);
  EXPECT_EQ(items(100), 19U);
  EXPECT_EQ(items(0.1), 2U);  // ceil(1.9)
  EXPECT_THROW(items(-1), Error);

  KnownModel small(256);
  small.completion = model.completion;
  EvalOptions options;
  options.tasks = {{"nq_open", 0}};
  options.data_root = root_;
  EXPECT_THROW(evaluate(small, ids_of_bytes, options), Error);  // 256 new tokens need more
  options.max_gen_tokens = 5;
  EXPECT_EQ(evaluate(small, ids_of_bytes, options)[0].samples.size(), 19U);
}

TEST_F(EvalFolder, ABadItemOfTheLastTaskShowsBeforeTheFirstIsScored) {
  write("nq_open/validation.jsonl", R"({"question":"who","answer":["a"]})"
                                    "\n");
  write("piqa/validation.jsonl", R"({"goal":"g","sol1":")" + std::string(300, 'x') +
                                     R"(","sol2":"b","label":0})"
                                     "\n");
  KnownModel model(256);
  model.completion = [](const std::string&) { return "a"; };
  EvalOptions options;
  options.tasks = {{"nq_open", 0}, {"piqa", 0}};
  options.data_root = root_;
  options.max_gen_tokens = 5;
  EXPECT_THROW(evaluate(model, ids_of_bytes, options), Error);
  EXPECT_TRUE(model.prompts.empty());
  options.tasks = {{"nq_open", 0}};
  evaluate(model, ids_of_bytes, options);
  EXPECT_EQ(model.prompts.size(), 1U);
}

}  // namespace
}  // namespace memengine
