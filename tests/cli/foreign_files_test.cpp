// The program beside files that are not its own, files that are no files, and names from strangers.
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>

#include "io/files/output_folder.h"
#include "tests/cli/program.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// A config, prepared data and a run of four steps.
class ForeignFiles : public testing::Test {
 protected:
  ForeignFiles() {
    folder_.write("small.yaml", small_config());
    folder_.write("texts.jsonl", small_texts());
  }
  void prepare() {
    run_well(folder_,
             {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data", "--threads", "1"});
  }
  void train() { run_well(folder_, train_words()); }
  static Words train_words() {
    return {"train", "small.yaml", "steps=4", "checkpoint.dump.every=4"};
  }
  void fifo(const std::string& name) {
    fs::create_directories((folder_ / name).parent_path());
    fs::remove(folder_ / name);
    ASSERT_EQ(::mkfifo((folder_ / name).c_str(), 0600), 0);
  }

  TemporaryFolder folder_;
};

// Nothing that a terminal would obey, on either stream.
void expect_plain(const Outcome& outcome) {
  for (const std::string* text : {&outcome.out, &outcome.error}) {
    for (const char c : *text) {
      const auto byte = static_cast<unsigned char>(c);
      ASSERT_TRUE((byte >= 0x20 && byte != 0x7F) || c == '\n' || c == '\t') << int{byte} << *text;
    }
  }
}

// A program that waits here hangs this test until its time is over.
TEST_F(ForeignFiles, FilesThatAreNoFilesAreRefusedAtOnce) {
  const std::string what = "is not a regular file but a FIFO";
  fifo("pipe.yaml");
  expect_refusal(folder_, {"train", "pipe.yaml"}, {"pipe.yaml", what});
  expect_refusal(folder_, {"eval", "pipe.yaml"}, {"pipe.yaml", what});
  expect_refusal(folder_, {"train", "/dev/zero"}, {"is not a regular file but a device"});
  fifo("t.model");
  for (const char* kind : {"sp", "tiktoken"}) {
    expect_refusal(folder_,
                   {"prepare", "texts.jsonl", "--tokenizer", kind, "--tokenizer-path", "t.model",
                    "--out", "d"},
                   {"t.model", what});
  }
  fifo("texts/a.jsonl");
  EXPECT_EQ(
      run_program(folder_, {"prepare", "texts/a.jsonl", "--tokenizer", "bytes", "--out", "d"}).code,
      2);
  EXPECT_FALSE(fs::exists(folder_ / "d"));
  prepare();
  train();
  for (const char* name : {"run/train.log", "run/metrics.jsonl"}) {
    const std::string before = file_bytes(folder_ / name);
    fifo(name);
    expect_refusal(folder_, {"train", "small.yaml", "steps=6"}, {name, "is not a regular file"});
    fs::remove(folder_ / name);
    folder_.write(name, before);
  }
  fifo("data/texts/prepare.json");
  expect_refusal(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"},
                 {"prepare.json", what});
  for (const char* name : {"data/texts/train_000000.json", "data/texts/train_000000.bin"}) {
    fifo(name);
    expect_refusal(folder_, {"train", "small.yaml", "dump_dir=other"}, {name, what});
    expect_refusal(folder_, {"inspect", "data"}, {name, what});
  }
  folder_.write("eval.yaml",
                "ckpt_dir: run\ndump_dir: out\ndata_dir: sets\nharness: {tasks: [piqa]}\n");
  fifo("sets/piqa/validation.jsonl");
  expect_refusal(folder_, {"eval", "eval.yaml"}, {"validation.jsonl", what});
  const std::string checkpoint = "run/checkpoints/0000000004/";
  for (const char* name : {"model.safetensors", "state.json"}) {
    fifo(checkpoint + name);
    expect_refusal(folder_, {"generate", "run", "--prompt", "a"}, {name, what});
  }
  for (const char* name : {"hf/config.json", "export/model.safetensors"}) {
    std::string config = small_config();
    folder_.write("export/config.yaml",
                  config.insert(config.find("  dim:"), "  vocab_size: 258\n"));
    fifo(name);
    expect_refusal(folder_, {"generate", fs::path(name).parent_path().string(), "--prompt", "a"},
                   {what});
  }
}

TEST_F(ForeignFiles, FilesOfTerabytesAreNotRead) {
  const auto sparse = [&](const std::string& name) {
    folder_.write(name, "x");
    fs::resize_file(folder_ / name, std::uintmax_t{4} << 40);
  };
  sparse("big.yaml");
  expect_refusal(folder_, {"train", "big.yaml"}, {"big.yaml", "is too large (at most "});
  sparse("t.model");
  for (const char* kind : {"sp", "tiktoken"}) {
    expect_refusal(folder_,
                   {"prepare", "texts.jsonl", "--tokenizer", kind, "--tokenizer-path", "t.model",
                    "--out", "d"},
                   {"t.model", "is too large (at most 134217728)"});
  }
}

TEST_F(ForeignFiles, NoCommandWritesOverWhatIsNotItsOwn) {
  const Words prepare_words = {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "model"};
  folder_.write("model/tokenizer.model", "theirs");
  expect_refusal(folder_, prepare_words, {"model: holds 'tokenizer.model'"});
  Words overwriting = prepare_words;
  overwriting.push_back("--overwrite");
  expect_refusal(folder_, overwriting, {"model: holds 'tokenizer.model'"});
  EXPECT_EQ(file_bytes(folder_ / "model/tokenizer.model"), "theirs");
  folder_.write("corpus/questions.jsonl", "theirs");
  expect_refusal(folder_, {"synth", "--people", "3", "--out", "corpus"},
                 {"holds 'questions.jsonl'"});
  EXPECT_EQ(file_bytes(folder_ / "corpus/questions.jsonl"), "theirs");
  folder_.write("run/config.yaml", "theirs");
  prepare();
  expect_refusal(folder_, train_words(), {"run: holds 'config.yaml'"});
  EXPECT_EQ(file_bytes(folder_ / "run/config.yaml"), "theirs");
  fs::remove_all(folder_ / "run");
  train();
  folder_.write("exported/config.json", "theirs");
  expect_refusal(folder_, {"export", "run", "--out", "exported"}, {"holds 'config.json'"});
  expect_refusal(folder_, {"export", "run", "--out", "run"}, {"of another kind of work"});
  expect_refusal(folder_, {"synth", "--people", "3", "--out", "data"}, {"of another kind of work"});

  // In a source's own folder: a shard and a sidecar that no prepare made.
  const Words again = {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out",
                       "data",    "--overwrite", "--seed",      "9"};
  folder_.write("data/texts/mine.bin", "mine");
  folder_.write("data/texts/mine.json", "mine");
  expect_refusal(folder_, again, {"data/texts/mine.bin: was not made by prepare"});
  EXPECT_EQ(file_bytes(folder_ / "data/texts/mine.bin"), "mine");
  EXPECT_EQ(file_bytes(folder_ / "data/texts/mine.json"), "mine");
  fs::remove(folder_ / "data/texts/mine.bin");
  folder_.write("data/texts/train_000001.json", "mine");
  expect_refusal(folder_, again, {"train_000001.json: was not made by prepare"});
  fs::remove(folder_ / "data/texts/train_000001.json");
  run_well(folder_, again);
  EXPECT_EQ(file_bytes(folder_ / "data/texts/mine.json"), "mine");
}

TEST_F(ForeignFiles, OnePrepareAtATimeInAFolder) {
  const Words words = {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"};
  {
    const OutputFolder other(folder_ / "data", "data");
    folder_.write("data/texts/.prepare/train/000.spill", "at work");
    expect_refusal(folder_, words, {"data: another run uses this folder (process "});
    EXPECT_EQ(file_bytes(folder_ / "data/texts/.prepare/train/000.spill"), "at work");
  }
  const OutputFolder demo(folder_ / "demo", "demo");
  const std::string study = (fs::current_path() / "configs/studies/demo.yaml").string();
  expect_refusal(folder_, {"demo", "--study", study, "--out", "demo"},
                 {"demo: another run uses this folder (process "});
}

TEST_F(ForeignFiles, ADamagedRecordIsOneLine) {
  prepare();
  const fs::path record = folder_ / "data/texts/prepare.json";
  const std::string whole = file_bytes(record);
  for (const char* value : {"\"x\"", "[]", "4e81", "-1", "null"}) {
    std::string text = whole;
    const std::size_t at = text.find("\"train_tokens\": ") + 16;
    text.replace(at, text.find(',', at) - at, value);
    folder_.write("data/texts/prepare.json", text);
    expect_refusal(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"},
                   {"prepare.json: is damaged"});
  }
  folder_.write("data/texts/prepare.json", "{\"fingerprint\": 3}");
  expect_refusal(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"},
                 {"prepare.json: was not made by prepare"});
}

TEST_F(ForeignFiles, WordsFromFilesAndArgumentsArePlain) {
  const std::string escape = "\x1b]0;x\x07\x1b[2J\nline two\r\xff\xc2\x9b";
  const std::string shown = "\\x1b]0;x\\x07\\x1b[2J\\nline two\\r\\xff\\u009b";
  prepare();
  const auto plain_refusal = [&](const Words& words, const std::string& part) {
    const Outcome outcome = run_program(folder_, words);
    expect_plain(outcome);
    EXPECT_EQ(outcome.code, 2) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    EXPECT_NE(outcome.error.find(part), std::string::npos) << outcome.error;
  };
  // Of a command line, a file's name, a config, a model, a lock.
  plain_refusal({escape}, shown);
  plain_refusal({"train", "small.yaml", "--" + escape}, "line two");
  plain_refusal({"train", escape}, shown);
  plain_refusal({"train", "small.yaml", escape + "=3"}, "unknown key");
  plain_refusal({"train", "small.yaml",
                 "data.sources={\""
                 "a\\nb\\e[31m"
                 "\": 1}"},
                "a\\nb\\x1b[31m");
  plain_refusal({"train", "small.yaml", "data.tokenizer={name: sp, path: \"a\\nb\\e[31m\"}"},
                "a\\nb\\x1b[31m");
  folder_.write(
      "eval.yaml",
      "name: e\ndump_dir: e\nckpt_dir: run\ndata_dir: .\nharness: {tasks: [\"piqa\\nx\\e[1m\"]}\n");
  train();
  plain_refusal({"eval", "eval.yaml"}, "piqa\\nx\\x1b[1m");
  for (const char* key : {"hidden_act", "model_type"}) {
    folder_.write("hf/config.json", std::string("{\"") + key + "\": \"a\\nb\\u001b[31m\"}");
    plain_refusal({"generate", "hf", "--prompt", "a"}, "");
  }
  folder_.write("held/.memengine", "memengine 0123456789abcdef training run\n\x1b[31mmallory\n");
  {
    RunningProgram holder(
        folder_, {"train", "small.yaml", "steps=100000", "dump_dir=held", "logging.freq=1"});
    ASSERT_TRUE(holder.wait_until([&] { return fs::exists(folder_ / "held/config.yaml"); }));
    const TemporaryFolder elsewhere;
    const Outcome outcome =
        run_program(elsewhere, {"train", (folder_ / "small.yaml").string(),
                                "dump_dir=" + (folder_ / "held").string(),
                                "data.root_dir=" + (folder_ / "data").string()});
    expect_plain(outcome);
    EXPECT_NE(outcome.error.find("another run uses this folder (process "), std::string::npos)
        << outcome.error;
  }
  // Not refused, but shown.
  const auto plain = [&](const Words& words, const std::string& part) {
    const Outcome outcome = run_program(folder_, words);
    expect_plain(outcome);
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    expect_contains(outcome.out, part);
  };
  plain({"train", "small.yaml", "steps=4", "dump_dir=named", "name=\"n\\e[31m\\nstep 9\""},
        "n\\x1b[31m\\nstep 9 on ");
  plain({"inspect", "small.yaml", "name=\"n\\e[31m\\nstep 9\""}, "n\\x1b[31m\\nstep 9");
  std::string header =
      "{\"a\\n\\u001b[31m\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"__metadata__"
      "\":{\"k\":\"v\\n\\u001b[32m\"}}";
  std::string length(8, '\0');
  length[0] = static_cast<char>(header.size());
  folder_.write("odd.safetensors", length + header + "abcd");
  plain({"inspect", "odd.safetensors"}, "a\\n\\x1b[31m");
  plain({"inspect", "odd.safetensors"}, "v\\n\\x1b[32m");
  std::string sidecar = file_bytes(folder_ / "data/texts/train_000000.json");
  sidecar.replace(sidecar.find("\"bytes\""), 7, "\"by\\u001b[31m\\ntes\"");
  folder_.write("data/texts/train_000000.json", sidecar);
  const Outcome outcome = run_program(folder_, {"inspect", "data", "--tokenizer", "bytes"});
  expect_plain(outcome);
}

// A model's text keeps its lines; on a terminal nothing else of it is obeyed, in a pipe it is raw.
TEST_F(ForeignFiles, GeneratedTextIsRawInAPipeAndTameOnATerminal) {
  prepare();
  train();
  const Words words = {"generate",     "run", "--prompt",      "a\n\x1b[31mb\x07\tc",
                       "--max-tokens", "1",   "--temperature", "0"};
  expect_contains(run_well(folder_, words), "a\n\x1b[31mb\x07\tc");
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_TRUE(terminal >= 0 && ::grantpt(terminal) == 0 && ::unlockpt(terminal) == 0);
  const std::string name = ::ptsname(terminal);
  const int other = ::open(name.c_str(), O_RDWR | O_NOCTTY);
  const pid_t process = ::fork();
  if (process == 0) {
    ::dup2(other, STDOUT_FILENO);
    std::vector<char*> arguments = {const_cast<char*>(MEMENGINE_PROGRAM)};
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    if (::chdir(folder_.path().c_str()) == 0) ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  EXPECT_EQ(status, 0);
  std::string text(4096, '\0');
  text.resize(
      static_cast<std::size_t>(std::max<ssize_t>(::read(terminal, text.data(), text.size()), 0)));
  ::close(other);
  ::close(terminal);
  EXPECT_TRUE(text.starts_with("a\r\n[31mb\tc") || text.starts_with("a\r\n[31mb  ")) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
}

TEST_F(ForeignFiles, AFullDiskAndALimitEndWithOneLine) {
  const auto limited = [&](const Words& words) {
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{20'000, limit.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    Outcome outcome = run_program(folder_, words);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_EQ(outcome.code, 2) << outcome.out << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    expect_contains(outcome.error, "File too large");
    return outcome;
  };
  limited({"synth", "--people", "400", "--out", "corpus"});
  EXPECT_FALSE(fs::exists(folder_ / "corpus"));
  prepare();
  Words once = train_words();
  once.push_back("checkpoint.retry_minutes=0");  // nobody will make room
  limited(once);
  EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints"));
  std::string long_texts;
  for (int i = 0; i < 40; ++i) long_texts += small_texts();
  folder_.write("long.jsonl", long_texts);
  limited({"prepare", "long.jsonl", "--tokenizer", "bytes", "--out", "long"});
}

TEST_F(ForeignFiles, WeightsThatAreNoNumbersAreSaidSo) {
  prepare();
  train();
  run_well(folder_, {"export", "run", "--out", "out"});
  const fs::path weights = folder_ / "out/model.safetensors";
  std::string bytes = file_bytes(weights);
  expect_contains(run_well(folder_, {"inspect", weights.string()}),
                  "every block agrees with its checksum");
  for (std::size_t at = bytes.size() / 2 / 4 * 4; at + 4 <= bytes.size(); at += 4) {
    const float nan = std::nanf("");
    std::memcpy(bytes.data() + at, &nan, 4);
  }
  folder_.write("out/model.safetensors", bytes);
  folder_.write("sets/piqa/validation.jsonl",
                "{\"goal\": \"a\", \"sol1\": \"b\", \"sol2\": \"c\", \"label\": 0}\n");
  folder_.write("eval.yaml",
                "name: e\ndump_dir: e\nckpt_dir: out\ndata_dir: sets\ndevice: cpu\nharness: "
                "{tasks: [piqa]}\n");
  expect_refusal(folder_, {"eval", "eval.yaml"}, {"do not match their checksum"});
  fs::remove(folder_ / "out/memengine_checksums.json");
  expect_refusal(folder_, {"eval", "eval.yaml"}, {"log-likelihoods are not numbers"});
  EXPECT_FALSE(fs::exists(folder_ / "e/results.json"));
}

}  // namespace
}  // namespace memengine
