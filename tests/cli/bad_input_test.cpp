// Whatever is wrong with the input: one clear line, exit code 2.
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace memengine {
namespace {

using Words = std::vector<std::string>;

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    folder.write("config.yaml", small_config());
    folder.write("texts.jsonl", small_texts());
  }
  void prepare() {
    run_well(folder, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"});
  }
  std::filesystem::path shard() const { return folder / "data/texts/train_000000.bin"; }

  TemporaryFolder folder;
};

// A file of another command's is named as what it is, and the command that takes it.
TEST_F(BadInput, AFileOfAnotherKind) {
  folder.write("study.yaml",
               "base: config.yaml\nout: s\nvariables: {n: 3}\nset: {steps: '${n}'}\n");
  folder.write("eval.yaml", "ckpt_dir: run\ndata_dir: sets\nharness: {tasks: [piqa]}\n");
  const Words study = {"study.yaml is a study: memengine study study.yaml"};
  for (const char* command : {"train", "eval", "inspect"}) {
    expect_refusal(folder, {command, "study.yaml"}, study);
  }
  expect_refusal(folder, {"train", "eval.yaml"}, {"eval.yaml is the config of an evaluation"});
  expect_refusal(folder, {"study", "eval.yaml"}, {"memengine eval eval.yaml"});
  expect_refusal(folder, {"study", "config.yaml"}, {"config.yaml is the config of a run"});
  expect_refusal(folder, {"eval", "config.yaml"}, {"memengine train config.yaml"});
  // What is wrong within a file of the right kind is said as ever.
  folder.write("wrong.yaml", small_config() + "stepps: 3\n");
  expect_refusal(folder, {"train", "wrong.yaml"}, {"unknown key 'stepps'", "'steps'"});
}

TEST_F(BadInput, OnTheCommandLine) {
  expect_refusal(folder, {}, {"subcommand"});
  expect_refusal(folder, {"trian", "config.yaml"}, {"'trian'", "'train'"});
  expect_refusal(folder, {"train"}, {"config"});
  expect_refusal(folder, {"train", "config.yaml", "--fast"}, {"--fast"});
  expect_refusal(folder, {"train", "config.yaml", "steps"}, {"steps", "="});
  expect_refusal(folder, {"synth", "--people", "many", "--out", "x"}, {"--people", "many"});
  expect_refusal(folder, {"synth", "--people", "0", "--out", "x"},
                 {"--people: '0' must be a whole number of at least 1", "memengine synth --help"});
  for (const char* seed : {"-1", "1.5", "-99999999999999999999", "x"}) {
    expect_refusal(folder, {"synth", "--out", "x", "--seed", seed}, {"--seed", seed, "at least 0"});
    expect_refusal(folder, {"prepare", "texts.jsonl", "--out", "x", "--seed", seed}, {"--seed"});
  }
  expect_refusal(folder, {"demo", "--steps", "0"}, {"--steps: '0' must be", "demo --help"});
  expect_refusal(folder, {"prepare", "texts.jsonl", "--out", "x", "--train-tokenizer", "0"},
                 {"--train-tokenizer: '0' must be a whole number of at least 1"});
  expect_refusal(folder, {"synth", "--out", "x", "--questions", "-1"}, {"--questions: '-1' must"});
  expect_refusal(folder, {"train", "config.yaml", "--fast"}, {"memengine train --help"});
  expect_refusal(folder, {"train", "steps=3"}, {"no config is named"});
  expect_refusal(folder, {"train", "config=config.yaml", "config=config.yaml"}, {"two configs"});
  expect_refusal(folder, {"train", "config=nowhere.yaml"}, {"nowhere.yaml"});
  for (const char* chapter : {"0", "-1", "1.5", "first"}) {
    expect_refusal(folder, {"course", chapter}, {chapter, "a whole number of at least 1"});
  }
  for (const char* loss : {"0", "nan", "inf", "low"}) {
    expect_refusal(folder, {"compare", "run", "--to", loss}, {loss, "a number above zero"});
  }
  // An empty argument is no zero.
  expect_refusal(folder, {"prepare", "texts.jsonl", "--out", "x", "--validation", ""},
                 {"--validation: '' is empty"});
  expect_refusal(folder, {"generate", "run", "--temperature", ""}, {"--temperature: '' is empty"});
  expect_refusal(folder, {"memory", "row", "run", "3", "--layer", ""}, {"--layer: '' "});
  expect_refusal(folder, {"inspect", "config.yaml", "--gpu-memory", ""}, {"--gpu-memory: ''"});
  expect_refusal(folder, {"inspect", ""}, {"path: ''"});
  expect_refusal(folder, {"generate", ""}, {"model: ''"});
  expect_refusal(folder, {"export", "run", "--out", ""}, {"--out: ''"});
  expect_refusal(folder, {"prepare", "", "--tokenizer", "bytes", "--out", "x"}, {"input: ''"});
  expect_refusal(folder, {"train", ""}, {"config: ''"});
  expect_refusal(folder, {"train", "config.yaml", ""}, {"override ''"});
  // A number that nothing can hold.
  expect_refusal(folder, {"synth", "--out", "x", "--seed", "18446744073709551616"},
                 {"--seed: '18446744073709551616' is more than 18446744073709551615"});
  // Nothing is written for a tokenizer that cannot be.
  for (const char* vocabulary : {"3", "265"}) {
    expect_refusal(folder, {"synth", "--people", "5", "--vocab", vocabulary, "--out", "few"},
                   {"a vocabulary of " + std::string(vocabulary)});
    EXPECT_FALSE(std::filesystem::exists(folder / "few"));
  }
  // Nor is anything measured for a record that cannot be written.
  expect_refusal(folder, {"bench", "--ladder", "bag_rows", "--json", "nowhere/x.json"},
                 {"nowhere/x.json", "No such file or directory"});
  expect_refusal(folder, {"bench", "--ladder", "bag_rows", "--case", "dense_373m"}, {"--case"});
}

TEST_F(BadInput, InTheConfig) {
  prepare();
  expect_refusal(folder, {"train", "nowhere.yaml"}, {"nowhere.yaml"});
  expect_refusal(folder, {"train", "config.yaml", "model.n_layer=3"},
                 {"model.n_layer", "n_layers"});
  expect_refusal(folder, {"train", "config.yaml", "steps=soon"}, {"steps", "soon"});
  expect_refusal(folder, {"train", "config.yaml", "model.productkey_args.layers=7"}, {"7"});
  expect_refusal(folder, {"train", "config.yaml", "model.productkey_args.mem_offload=true"},
                 {"mem_offload"});
  folder.write("typo.yaml", small_config() + "optimizer: {lr: 1}\n");
  expect_refusal(folder, {"train", "typo.yaml"}, {"typo.yaml:", "optimizer", "optim"});
  folder.write("type.yaml", small_config() + "grad_acc_steps: [1, 2]\n");
  expect_refusal(folder, {"train", "type.yaml"}, {"type.yaml:", "grad_acc_steps"});
  folder.write("broken.yaml", "model: {dim: 32\n");
  expect_refusal(folder, {"train", "broken.yaml"}, {"broken.yaml"});
  expect_refusal(folder, {"inspect", "config.yaml", "modle.dim=3"}, {"modle", "model"});
}

TEST_F(BadInput, InGeneration) {
  const auto refused = [&](const Words& arguments, const Words& words) {
    Words command = {"generate", "run", "--prompt", "a"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    expect_refusal(folder, command, words);
  };
  for (const char* number : {"nan", "inf", "-1"}) {
    refused({"--temperature", number}, {"temperature", number});
  }
  refused({"--top-p", "nan"}, {"top-p"});
  refused({"--top-p", "1.5"}, {"top-p", "1.5"});
  refused({"--top-k", "0"}, {"top-k", "0"});
  refused({"--seed", "-1"}, {"--seed", "-1"});
  refused({"--stop", ""}, {"--stop"});
  refused({"--max-tokens", "0"}, {"--max-tokens"});
}

TEST_F(BadInput, InAnEvaluation) {
  folder.write("eval.yaml", "ckpt_dir: run\ndump_dir: out\nharness: {tasks: [piqa]}\n");
  expect_refusal(folder, {"eval", "eval.yaml"}, {"run"});
  expect_refusal(folder, {"eval", "eval.yaml", "harness.tasks=[piqa, piqa]"}, {"piqa", "twice"});
  expect_refusal(folder, {"eval", "eval.yaml", "max_length=0"}, {"max_length"});
  expect_refusal(folder, {"eval", "eval.yaml", "generator.dtype=fp8"}, {"fp8"});
  expect_refusal(folder, {"inspect", "eval.yaml"}, {"data_dir"});
  // What is missing is no error of an inspection.
  const std::string words = run_well(folder, {"inspect", "eval.yaml", "data_dir=sets"});
  EXPECT_NE(words.find("sets/piqa/validation.jsonl: missing"), std::string::npos) << words;
}

TEST_F(BadInput, APlanThatExceedsMemory) {
  prepare();
  expect_refusal(folder,
                 {"train", "config.yaml", "model.productkey_args.mem_n_keys=40000",
                  "model.productkey_args.mem_v_dim=2048"},
                 {"memory", "mem_n_keys"});
  EXPECT_FALSE(std::filesystem::exists(folder / "run/metrics.jsonl"));
}

TEST_F(BadInput, InTheData) {
  expect_refusal(folder, {"train", "config.yaml"},
                 {"data", "`memengine prepare TEXTS --tokenizer bytes --out data`"});
  expect_refusal(folder,
                 {"train", "config.yaml", "data.tokenizer={name: sp, path: data/tokenizer.model}",
                  "data.sources={novels: 1}"},
                 {"no file 'data/tokenizer.model'", "memengine prepare TEXTS --name novels",
                  "--train-tokenizer"});
  expect_refusal(folder, {"train", "config.yaml", "data.tokenizer={name: sp}"},
                 {"data.tokenizer.path is missing"});
  prepare();
  expect_refusal(folder, {"train", "config.yaml", "data.sources={nothing: 1}"}, {"nothing"});
  expect_refusal(folder, {"train", "config.yaml", "model.vocab_size=100"}, {"vocab_size", "258"});
  expect_refusal(folder, {"train", "config.yaml", "data.seq_len=100000"}, {"texts"});
}

TEST_F(BadInput, ADamagedShard) {
  prepare();
  const std::string whole = file_bytes(shard());
  folder.write("data/texts/train_000000.bin", whole.substr(0, whole.size() - 3));
  expect_refusal(folder, {"train", "config.yaml"}, {"train_000000.bin"});
  expect_refusal(folder, {"inspect", "data"}, {"train_000000.bin"});
  folder.write("data/texts/train_000000.bin", "");
  expect_refusal(folder, {"train", "config.yaml"}, {"train_000000.bin"});
  std::string changed = whole;
  changed[0] = 'x';
  folder.write("data/texts/train_000000.bin", changed);
  expect_refusal(folder, {"train", "config.yaml"}, {"train_000000.bin"});
  changed = whole;
  changed[changed.size() / 2] ^= 1;
  folder.write("data/texts/train_000000.bin", changed);
  expect_refusal(folder, {"inspect", "data"}, {"train_000000.bin", "checksum"});
}

TEST_F(BadInput, AnotherTokenizerThanTheShards) {
  prepare();
  run_well(folder,
           {"synth", "--people", "20", "--passages", "2", "--vocab", "400", "--out", "bio"});
  expect_refusal(
      folder,
      {"train", "config.yaml", "data.tokenizer.name=sp", "data.tokenizer.path=bio/tokenizer.model"},
      {"tokenizer"});
  expect_refusal(
      folder, {"train", "config.yaml", "data.tokenizer.name=sp", "data.tokenizer.path=none.model"},
      {"none.model"});
}

TEST_F(BadInput, OfPrepare) {
  const auto refuse = [&](Words more, const Words& parts) {
    Words words = {"prepare", "--out", "out"};
    words.insert(words.end(), more.begin(), more.end());
    expect_refusal(folder, words, parts);
  };
  const Words bytes = {"--tokenizer", "bytes"};
  const auto with_bytes = [&](Words words) {
    words.insert(words.end(), bytes.begin(), bytes.end());
    return words;
  };
  refuse(bytes, {"--source"});
  refuse(with_bytes({"nowhere.jsonl"}), {"nowhere.jsonl"});
  refuse(with_bytes({"config.yaml"}), {"config.yaml"});
  refuse(with_bytes({"--source", "texts.jsonl"}), {"NAME=PATH"});
  refuse(with_bytes({"texts.jsonl", "--validation", "1.5"}), {"1.5"});
  refuse(with_bytes({"texts.jsonl", "--text-field", "body"}), {"texts.jsonl:1", "body"});
  refuse({"texts.jsonl"}, {"--tokenizer-path"});
  refuse({"texts.jsonl", "--tokenizer", "words"}, {"words"});
  refuse({"texts.jsonl", "--tokenizer-path", "texts.jsonl"}, {"texts.jsonl"});
  refuse({"texts.jsonl", "--tokenizer", "tiktoken", "--tokenizer-path", "texts.jsonl"},
         {"texts.jsonl"});
  folder.write("empty.jsonl", "");
  refuse(with_bytes({"empty.jsonl"}), {"empty"});
  folder.write("latin.txt", "caf\xe9");
  refuse(with_bytes({"latin.txt"}), {"latin.txt", "UTF-8"});
  folder.write("latin.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"caf\xe9\"}\n");
  refuse(with_bytes({"latin.jsonl"}), {"latin.jsonl:2", "UTF-8"});
  folder.write("half.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"not clo");
  refuse(with_bytes({"half.jsonl"}), {"half.jsonl:2"});
  // Another tokenizer or other settings in the same folder.
  prepare();
  expect_refusal(folder,
                 {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--seed", "1", "--out", "data"},
                 {"overwrite"});
}

TEST_F(BadInput, OfInspect) {
  expect_refusal(folder, {"inspect", "nowhere"}, {"nowhere"});
  expect_refusal(folder, {"inspect", "texts.jsonl"}, {"texts.jsonl", "neither"});
  expect_refusal(folder, {"inspect", folder.path().string()}, {"neither"});
  folder.write("x.safetensors", "nonsense");
  expect_refusal(folder, {"inspect", "x.safetensors"}, {"x.safetensors"});
}

}  // namespace
}  // namespace memengine
