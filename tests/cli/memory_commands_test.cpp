// `memengine memory ...` as a user types it.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace memengine {
namespace {

using Json = nlohmann::json;

class MemoryCommands : public testing::Test {
 protected:
  MemoryCommands() {
    folder_.write("texts.jsonl", small_texts());
    folder_.write("config.yaml", small_config());
    run_well(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--validation", "0.2",
                       "--out", "data"});
    run_well(folder_, {"train", "config.yaml", "steps=50"});
  }
  Json json(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "memory");
    arguments.push_back("--json");
    return Json::parse(run_well(folder_, arguments));
  }
  TemporaryFolder folder_;
};

TEST_F(MemoryCommands, SayWhatTheyFindInJson) {
  const Json use = json({"use", "run"});
  ASSERT_EQ(use["layers"].size(), 1u);
  EXPECT_EQ(use["layers"][0]["layer"], 1);
  EXPECT_EQ(use["layers"][0]["heads"].size(), 2u);
  EXPECT_EQ(use["layers"][0]["picks"].get<int>(), use["tokens"].get<int>() * 16);
  EXPECT_EQ(use["overlaps"].size(), 1u);
  EXPECT_EQ(json({"use", "run", "--tokens", "80"})["tokens"], 66);  // whole windows of 33
  const int row = use["layers"][0]["top_rows"][0]["row"];
  const int picks = use["layers"][0]["top_rows"][0]["picks"];

  const Json found = json({"row", "run", std::to_string(row)});
  EXPECT_EQ(found["reads"], picks);
  EXPECT_EQ(found["last_updated_at_step"], 50);
  EXPECT_FALSE(found["contexts"].empty());
  EXPECT_FALSE(found["value_readout_approximation"][0]["tokens"].empty());

  const Json text = json({"text", "run", "the lazy dog"});
  ASSERT_EQ(text["tokens"].size(), 13u);  // BOS and twelve bytes
  EXPECT_EQ(text["tokens"][1]["text"], "t");
  EXPECT_EQ(text["tokens"][1]["layers"][0]["heads"][0]["rows"].size(), 8u);
  EXPECT_GT(text["tokens"][1]["rarity_bits"], 0);

  const Json ablation = json({"ablate", "run", "--rows", std::to_string(row)});
  ASSERT_EQ(ablation["results"].size(), 1u + 1 + 2 + 1);
  EXPECT_EQ(ablation["results"][0]["loss_change"], 0);
  EXPECT_NE(ablation["results"][1]["loss_change"], 0);

  const Json diff = json({"diff", "run/checkpoints/0000000025", "run", "--top", "3"});
  EXPECT_EQ(diff["tables"][0]["most_changed"].size(), 3u);
  EXPECT_GT(diff["tables"][0]["most_changed"][0]["change"], 0);
  EXPECT_TRUE(diff["tables"][0]["most_changed"][0].contains("contexts"));
}

TEST_F(MemoryCommands, WritePagesBesideWhatTheySay) {
  const Json use = json({"use", "run", "-o", "use.html"});
  EXPECT_GT(use["tokens"], 0);
  expect_contains(file_bytes(folder_ / "use.html"), "<svg");
  const std::string said =
      run_well(folder_, {"memory", "text", "run", "a <dog>", "-o", "text.html"});
  expect_contains(said, "wrote text.html");
  EXPECT_EQ(file_bytes(folder_ / "text.html").find("<dog>"), std::string::npos);
}

TEST_F(MemoryCommands, RefuseWhatMakesNoSense) {
  expect_refusal(folder_, {"memory", "use", "nowhere"}, {"nowhere"});
  expect_refusal(folder_, {"memory", "rows", "run"},
                 {"no command 'memory rows'; the nearest is 'memory row'"});
  expect_refusal(folder_, {"memory", "row", "run"}, {"see memengine memory row --help"});
  expect_refusal(folder_, {"memory", "use", "run", "--top", "-1"}, {"--top: '-1' must be"});
  expect_refusal(folder_, {"memory", "use", "run", "--rows-per-pass", "99999999999"},
                 {"--rows-per-pass", "16777216"});
  expect_refusal(folder_, {"memory", "count", "run", "--batch-tokens", "99999999999"},
                 {"--batch-tokens", "16777216"});
  expect_refusal(folder_, {"memory"}, {"see memengine memory --help"});
  expect_refusal(folder_, {"memory", "use", "run", "--data", "nowhere"}, {"--data", "nowhere"});
  expect_refusal(folder_, {"memory", "use", "run", "--data", "run"},
                 {"no token shards", "prepare"});
  expect_refusal(folder_, {"memory", "use", "run", "--data", "data", "--data", "data/texts"},
                 {"--data", "is named twice"});
  expect_refusal(folder_, {"memory", "use", "run", "--data", "data", "--data", "run"},
                 {"no token shards", "'run'"});
  expect_refusal(folder_, {"memory", "use", "run", "-o", "nowhere/use.html"}, {"nowhere"});
  expect_refusal(folder_, {"memory", "use", "run", "-o", "data"}, {"data is a folder"});
  expect_refusal(folder_, {"memory", "row", "run", "361"}, {"row 361", "0 to 360"});
  expect_refusal(folder_, {"memory", "row", "run", "3", "--layer", "0"},
                 {"layer 0 holds no memory"});
  expect_refusal(folder_, {"memory", "text", "run", ""}, {"empty"});
  expect_refusal(folder_, {"memory", "ablate", "run", "--rows", "3,x"}, {"3,x", "@FILE"});
  expect_refusal(folder_, {"memory", "facts", "run", "--people", "3", "--passages", "2"},
                 {"memengine"});
  expect_refusal(folder_, {"memory", "ablate", "run", "--tasks", "piqa"}, {"--eval-data"});
  folder_.write("dense.yaml", small_config());
  run_well(folder_, {"train", "dense.yaml", "steps=2", "dump_dir=dense",
                     "model.productkey_args.is_enabled=false"});
  expect_refusal(folder_, {"memory", "use", "dense"}, {"no memory layers"});
  expect_refusal(folder_, {"memory", "diff", "run", "dense"}, {"no memory layers"});
}

// Several folders are read as one corpus, and a part of it is a part of each.
TEST_F(MemoryCommands, ReadWhatSeveralFoldersHold) {
  folder_.write("others.jsonl", small_texts());
  run_well(folder_, {"prepare", "others.jsonl", "--tokenizer", "bytes", "--out", "more"});
  const auto tokens = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {"use", "run", "--split", "train"};
    all.insert(all.end(), more.begin(), more.end());
    return json(all)["tokens"].get<int>();
  };
  EXPECT_EQ(tokens({"--data", "data", "--data", "more/others"}),
            tokens({"--data", "data"}) + tokens({"--data", "more"}));
  const std::string said = run_well(folder_, {"memory", "count", "run", "--batches", "4", "--data",
                                              "data", "--data", "more", "--batch-tokens", "66"});
  expect_contains(said, "4 batches of 66 tokens of data/texts (train), more/others (train)\n");
}

// Counting, and a run that updates the few rows which other text seldom reads.
TEST_F(MemoryCommands, CountForSparseFinetuning) {
  const std::string said =
      run_well(folder_, {"memory", "count", "run", "--batches", "4", "--batch-tokens", "66"});
  expect_contains(said, "4 batches of 66 tokens of data");
  expect_contains(said, "layers.1.feed_forward.values.weight\n  read by none ");
  expect_contains(said, "document_frequency.safetensors");
  const std::vector<std::string> words = {"config.yaml",
                                          "dump_dir=sparse",
                                          "steps=3",
                                          "checkpoint.init_ckpt_path=run",
                                          "optim.train=values",
                                          "optim.rows_per_step=5",
                                          "model.productkey_args.value_optimizer=sgd"};
  const auto with = [&](const std::string& command) {
    std::vector<std::string> all = {command};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  };
  expect_contains(run_well(folder_, with("inspect")), "at most 5 of a table in a step");
  const std::string trained = run_well(folder_, with("train"));
  expect_contains(trained, "(0 trained)");
  const Json diff =
      Json::parse(run_well(folder_, {"memory", "diff", "run", "sparse", "--top", "1", "--json"}));
  const int changed = diff["tables"][0]["changed_rows"];
  EXPECT_GE(changed, 5);
  EXPECT_LE(changed, 15);
  expect_refusal(folder_, {"memory", "count", "run", "--batch-tokens", "50000"},
                 {"are less than one batch"});
}

}  // namespace
}  // namespace memengine
