// Prompts and few-shot draws, against the harness's own, and the errors of broken records.
#include "engine/evaluation/task.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/evaluation/python/python_random.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/philox.h"
#include "tests/data.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// A data folder of one test, removed after it.
class Folder {
 public:
  Folder()
      : root_(fs::temp_directory_path() /
              ("memengine_eval_" + std::to_string(std::random_device()()))) {}
  ~Folder() { fs::remove_all(root_); }
  const fs::path& root() const { return root_; }

  void write(const fs::path& file, const std::string& text) const {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file, std::ios::binary) << text;
  }

 private:
  fs::path root_;
};

std::vector<Json> read_lines(const fs::path& file) {
  std::ifstream in(file);
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

// FNV-1a over all texts, each followed by a zero byte but the last.
std::uint64_t hash(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) {
    if (&text != &texts.front()) joined += '\0';
    joined += text;
  }
  return random_stream(joined);
}

std::vector<std::string> build_contexts(const Task& task, int shots, std::size_t count,
                                        std::uint64_t seed) {
  std::vector<std::string> contexts = build_preambles(task, shots, count, seed);
  for (std::size_t i = 0; i < count; ++i) contexts[i] += task.documents[i].question;
  return contexts;
}

std::uint64_t context_hash(const std::string& name, int shots) {
  const Task task = load_task(name, test_data_folder() / "eval", shots > 0);
  return hash(build_contexts(task, shots, task.documents.size(), 1234));
}

// The hashes come from the harness's own sampler and preprocessing (version 0.4.13) on these files.
TEST(EvalTask, HellaSwagPromptsEqualTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  const Task task = load_task("hellaswag", test_data_folder() / "eval", true);
  EXPECT_EQ(task.documents.size(), 800U);
  EXPECT_EQ(task.shot_split(), "validation");
  std::vector<std::string> choices;
  for (const Document& document : task.documents) {
    choices.insert(choices.end(), document.choices.begin(), document.choices.end());
  }
  EXPECT_EQ(hash(choices), 0x2784edb3787cf832ULL);
  EXPECT_EQ(context_hash("hellaswag", 0), 0x6212e75910cf5b8cULL);
  EXPECT_EQ(context_hash("hellaswag", 3), 0xf14d0b30c83975a6ULL);
  EXPECT_EQ(context_hash("hellaswag", 10), 0x3f7dd306abe0b70aULL);
}

TEST(EvalTask, PiqaPromptsEqualTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  EXPECT_EQ(context_hash("piqa", 0), 0x249fb111600d1697ULL);
  EXPECT_EQ(context_hash("piqa", 5), 0x421f91b82357306ULL);
}

TEST(EvalTask, NqOpenPromptsEqualTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  EXPECT_EQ(load_task("nq_open", test_data_folder() / "eval", true).shot_split(), "train");
  EXPECT_EQ(context_hash("nq_open", 0), 0x697458830d965bcaULL);
  EXPECT_EQ(context_hash("nq_open", 1), 0xd510138cf0d3e1c7ULL);
  EXPECT_EQ(context_hash("nq_open", 5), 0x45d81c712375e2a3ULL);

  const Task task = load_task("nq_open", test_data_folder() / "eval", false);
  const auto contexts = build_contexts(task, 0, 20, 1234);
  const auto cases =
      read_lines(test_data_folder() / "eval/lm_eval_rules/nq_open_0shot_first20.jsonl");
  ASSERT_EQ(cases.size(), 20U);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(contexts[i], cases[i].at("ctx").get<std::string>());
    EXPECT_EQ(task.documents[i].answers, cases[i].at("gold").get<std::vector<std::string>>());
  }
}

// The worked 5-shot cases were drawn from PIQA's full training set. A training set of that size
// with their examples at the drawn positions must give the same prompts.
TEST(EvalTask, PiqaWorkedFewShotCases) {
  MEMENGINE_REQUIRE_DATA();
  const auto cases = read_lines(test_data_folder() / "eval/lm_eval_rules/piqa_5shot_first20.jsonl");
  ASSERT_EQ(cases.size(), 20U);
  constexpr std::uint32_t pool = 16113;
  std::vector<Json> train(pool);
  for (std::uint32_t i = 0; i < pool; ++i) {
    train[i] = {{"goal", "g" + std::to_string(i)}, {"sol1", "x"}, {"sol2", "y"}, {"label", 0}};
  }
  PythonRandom random(1234);
  for (const Json& c : cases) {
    const auto context = c.at("ctx").get<std::string>();
    std::size_t at = 0;
    const auto until = [&](std::string_view mark) {
      const std::size_t end = context.find(mark, at);
      const std::string text = context.substr(at, end - at);
      at = end + mark.size();
      return text;
    };
    until("Question: ");
    const auto drawn = random.sample(pool, 6);
    for (int shot = 0; shot < 5; ++shot) {
      const std::string goal = until("\nAnswer: ");
      const std::string answer = until("\n\nQuestion: ");
      const bool second = drawn[shot] % 2 == 1;
      train[drawn[shot]] = {{"goal", goal},
                            {"sol1", second ? "wrong" : answer},
                            {"sol2", second ? answer : "wrong"},
                            {"label", second ? 1 : 0}};
    }
  }
  Folder folder;
  std::string lines;
  for (const Json& record : train) lines += record.dump() + "\n";
  folder.write("piqa/train.jsonl", lines);
  fs::copy(test_data_folder() / "eval/piqa/validation.jsonl", folder.root() / "piqa");

  const Task task = load_task("piqa", folder.root(), true);
  EXPECT_EQ(task.shot_split(), "train");
  const auto contexts = build_contexts(task, 5, 20, 1234);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(contexts[i], cases[i].at("ctx").get<std::string>()) << i;
    EXPECT_EQ(task.documents[i].gold, cases[i].at("gold").get<int>());
    for (std::size_t choice = 0; choice < 2; ++choice) {
      EXPECT_EQ(task.target_delimiter + task.documents[i].choices[choice],
                cases[i].at("continuations")[choice].get<std::string>());
    }
  }
}

TEST(EvalTask, HellaSwagCleansItsTexts) {
  Folder folder;
  folder.write(
      "hellaswag/validation.jsonl",
      R"({"activity_label":" Baking","ctx_a":"[header] How to bake [title] Mix  it.   Now",)"
      R"("ctx_b":"THE Dough","endings":[" [step] rises.  ","a [title] b [x] c","[open",)"
      R"("l[1\n]"],"label":"2"})"
      "\n\n");
  const Task task = load_task("hellaswag", folder.root(), false);
  ASSERT_EQ(task.documents.size(), 1U);
  const Document& document = task.documents[0];
  EXPECT_EQ(document.question, "Baking: How to bake. Mix it.  Now The dough");
  EXPECT_EQ(document.choices, (std::vector<std::string>{" rises.", "a. b c", "[open", "l[1\n]"}));
  EXPECT_EQ(document.gold, 2);
  EXPECT_EQ(document.where, (folder.root() / "hellaswag/validation.jsonl").string() + ":1");
}

TEST(EvalTask, TheEvaluatedDocumentIsNeverItsOwnExample) {
  Folder folder;
  std::string lines;
  for (int i = 0; i < 7; ++i) {
    // Copies of one record: more than one can be among the draws.
    lines += R"({"question":"q)" + std::to_string(i < 3 ? 0 : i) + R"(","answer":["a"]})" + "\n";
  }
  folder.write("nq_open/validation.jsonl", lines);
  const Task task = load_task("nq_open", folder.root(), true);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto contexts = build_contexts(task, 4, 7, seed);
    for (std::size_t i = 0; i < 7; ++i) {
      const std::string own = "Q: q" + std::to_string(i < 3 ? 0 : i) + "?";
      EXPECT_EQ(contexts[i].find(own), contexts[i].size() - own.size() - 3);
      EXPECT_EQ(std::count(contexts[i].begin(), contexts[i].end(), '?'), 5);
    }
  }
  EXPECT_THROW(build_contexts(task, 7, 7, 1), Error);  // 7 + 1 draws from 7
  EXPECT_THROW(build_contexts(task, 5, 7, 1), Error);  // only 4 others
  EXPECT_THROW(build_contexts(task, -1, 7, 1), Error);
}

TEST(EvalTask, BrokenRecordsNameFileAndLine) {
  const auto message = [](const std::string& task, const std::string& record) -> std::string {
    Folder folder;
    const std::string good =
        task == "piqa" ? R"({"goal":"g","sol1":"a","sol2":"b","label":1})"
                       : (task == "nq_open" ? R"({"question":"q","answer":["a"]})"
                                            : R"({"activity_label":"a","ctx_a":"b",)"
                                              R"("ctx_b":"c","endings":["d"],"label":0})");
    folder.write(task + "/validation.jsonl", good + "\n" + record + "\n");
    try {
      load_task(task, folder.root(), false);
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_EQ(error.kind(), Error::Kind::input);
      EXPECT_EQ(text.find('\n'), std::string::npos);
      EXPECT_NE(text.find("validation.jsonl:2:"), std::string::npos) << text;
      return text;
    }
    return "no error";
  };
  const auto expect = [&](const std::string& task, const std::string& record, const char* part) {
    EXPECT_NE(message(task, record).find(part), std::string::npos) << message(task, record);
  };
  expect("piqa", "{", "not a JSON object");
  expect("piqa", "[1]", "not a JSON object");
  expect("piqa", "\"\xFF\"", "not a JSON object");
  expect("piqa", R"({"goal":"g","sol1":"a","label":1})", "\"sol2\" is missing");
  expect("piqa", R"({"goal":"g","sol1":"a","sol2":3,"label":1})", "must be a string");
  expect("piqa", R"({"goal":"g","sol1":"a","sol2":"b","label":2})", "from 0 to 1");
  expect("piqa", R"({"goal":"g","sol1":"a","sol2":"b","label":-1})", "from 0 to 1");
  expect("piqa", R"({"goal":"g","sol1":"a","sol2":"b","label":""})", "from 0 to 1");
  expect("piqa", R"({"goal":"g","sol1":"a","sol2":"","label":1})", "empty");
  expect("nq_open", R"({"question":"q","answer":[]})", "empty list");
  expect("nq_open", R"({"question":"q","answer":"a"})", "must be a list");
  expect("nq_open", R"({"question":"q","answer":[1]})", "strings only");
  const std::string start = R"({"activity_label":"a","ctx_a":"b","ctx_b":"c","endings":)";
  expect("hellaswag", start + R"([],"label":0})", "\"label\" is 0");
  expect("hellaswag", start + R"(["x","[y]"],"label":0})", "empty");

  Folder empty;
  EXPECT_THROW(load_task("piqa", empty.root(), false), Error);
  empty.write("piqa/validation.jsonl", "\n \n");
  EXPECT_THROW(load_task("piqa", empty.root(), false), Error);
  EXPECT_THROW(load_task("mmlu", empty.root(), false), Error);
}

}  // namespace
}  // namespace memengine
