// Training beside files that are not its own, and on files that change while it reads them.
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "engine/model_files/export.h"
#include "engine/model_files/model_source.h"
#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class ForeignFiles : public SmallRuns {
 protected:
  void expect_error(const std::string& part) const {
    EXPECT_NE(error.find(part), std::string::npos) << "no '" << part << "' in: " << error;
  }
};

TEST_F(ForeignFiles, AFolderOfTheUsersIsRefusedAndStays) {
  for (const char* name :
       {"config.yaml", "lock", "train.log", "metrics.jsonl", "config.yaml.tmp", "checkpoints/x"}) {
    const std::string run = std::string("run_") + std::to_string(std::string(name).size());
    folder_.write(run + "/" + name, "mine");
    train(run);
    expect_error("holds '" + std::string(name).substr(0, std::string(name).find('/')) + "'");
    EXPECT_EQ(file_bytes(folder_ / run / name), "mine");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / run), {}), 1) << name;
    fs::remove_all(folder_ / run);
  }
}

TEST_F(ForeignFiles, LinksAndFifosOfARunsNamesAreNotWrittenThrough) {
  folder_.write("target", "precious");
  for (const char* name : {"train.log", "metrics.jsonl", "config.yaml.tmp"}) {
    fs::remove_all(folder_ / "run");
    train("run", {}, 4);
    EXPECT_EQ(error, "");
    fs::remove(folder_ / "run" / name);
    fs::create_symlink(folder_ / "target", folder_ / "run" / name);
    train("run");
    expect_error("symbolic link");
    fs::remove(folder_ / "run" / name);
    ASSERT_EQ(::mkfifo((folder_ / "run" / name).c_str(), 0600), 0);
    train("run");
    expect_error("is not a regular file");
  }
  EXPECT_EQ(file_bytes(folder_ / "target"), "precious");
}

TEST_F(ForeignFiles, NamesOfAnyBytesSaveAndResume) {
  const std::string bytes = "r\xff\xfe(";
  fs::rename(folder_ / "data", folder_ / ("d\xff"
                                          "ata"));
  const std::vector<std::string> names = {"name=n\xc3", "data.root_dir=" + (folder_ / "d\xff"
                                                                                      "ata")
                                                                               .string()};
  const TrainingRecord whole = train("whole", names);
  EXPECT_EQ(error, "");
  const TrainingRecord first = train(bytes, names, 5);
  EXPECT_EQ(error, "");
  const TrainingRecord second = train(bytes, names);
  EXPECT_EQ(error, "");
  EXPECT_EQ(second.resumed, 5);
  EXPECT_EQ(joined(first.losses, second.losses), whole.losses);
  const ModelSource source = find_model(folder_ / bytes);
  EXPECT_EQ(source.run->name, "n\xc3");
  EXPECT_GT(export_model(source, ExportFormat::reference, folder_ / "e\xff"), 0u);
}

// Another run's checkpoints, reached by checkpoint.path or through a link.
TEST_F(ForeignFiles, TheLockIsOnWhatIsWritten) {
  TrainingRecord record;
  const Trainer holder(config("one", {}), {&record});
  fs::create_symlink(folder_ / "one", folder_ / "link");
  train("link");
  expect_error("another run uses this folder (process ");
  fs::create_symlink(folder_ / "one/checkpoints", folder_ / "there");
  for (const char* path : {"one/checkpoints", "there"}) {
    train("two", {"checkpoint.path=" + (folder_ / path).string()});
    expect_error("checkpoint.path: ");
    expect_error("another run uses this folder (process ");
  }
}

TEST_F(ForeignFiles, AnotherRunsCheckpointsStayInASharedRoot) {
  const std::string path = "checkpoint.path=" + (folder_ / "shared").string();
  train("one", {path, "steps=4"});
  EXPECT_EQ(error, "");
  // Another model: it refuses to go on from there, and has removed nothing.
  fs::create_directory(folder_ / "shared/.saving-0000000099-0123456789abcdef");
  train("two", {path, "model.dim=16", "checkpoint.dump.keep=1"});
  expect_error("is of another run");
  EXPECT_TRUE(fs::exists(folder_ / "shared/.saving-0000000099-0123456789abcdef"));
  EXPECT_EQ(checkpoint_steps(folder_ / "shared"), (std::vector<std::int64_t>{4}));
}

TEST_F(ForeignFiles, AnOlderVersionsRunGoesOn) {
  train("run", {}, 5);
  fs::remove(folder_ / "run/.memengine");
  fs::remove(folder_ / "run/checkpoints/.memengine");
  folder_.write("run/lock", "process 4711 on somewhere\n");
  const TrainingRecord rest = train("run");
  EXPECT_EQ(error, "");
  EXPECT_EQ(rest.resumed, 5);
}

// A looping link that appears among the checkpoints is nobody's checkpoint, and no reason to stop.
TEST_F(ForeignFiles, ALoopAmongCheckpointsDoesNotEndTheRun) {
  TrainingRecord record;
  RunFiles files;
  Trainer trainer(config("run", {"steps=20", "checkpoint.dump.keep=1"}), {&files, &record});
  fs::create_symlink("0000000001", folder_ / "run/checkpoints/0000000001");
  fs::create_symlink("0000000008", folder_ / "run/checkpoints/0000000008");
  EXPECT_EQ(trainer.run([] { return false; }), 20);
  EXPECT_EQ(record.saves.size(), 5u);
  EXPECT_TRUE(record.was_told("was not of this run and is now "));
  EXPECT_TRUE(fs::is_symlink(folder_ / "run/checkpoints/0000000001"));
  EXPECT_TRUE(fs::is_symlink(folder_ / "run/checkpoints/0000000008.other"));
}

// Mapped pages after the end of a file raise SIGBUS; reading says that they are gone.
TEST_F(ForeignFiles, AShardThatIsCutWhileItIsReadIsAnError) {
  for (const char* async : {"true", "false"}) {
    write_byte_shard(folder_ / "cut/train_000000.bin", random_walk(40'000));
    TrainingRecord record;
    Trainer trainer(config(std::string("run_") + async,
                           {"data.root_dir=" + (folder_ / "cut").string(), "steps=2000",
                            "checkpoint.dump.every=0", std::string("data.load_async=") + async}),
                    {&record});
    error.clear();
    try {
      trainer.run([&] {
        if (trainer.step() == 3) fs::resize_file(folder_ / "cut/train_000000.bin", 2000);
        return false;
      });
    } catch (const Error& caught) {
      error = caught.what();
      EXPECT_EQ(caught.kind(), Error::Kind::input);
    }
    expect_error("train_000000.bin: became shorter while being read");
  }
}

TEST_F(ForeignFiles, ALimitOfFileSizesCostsASaveNotTheRun) {
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  TrainingRecord record;
  RunFiles files;
  Trainer trainer(config("run", {}), {&files, &record});
  const std::int64_t steps = trainer.run([&] {
    const rlimit now{trainer.step() < 7 ? rlim_t{3000} : limit.rlim_cur, limit.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
    return false;
  });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  EXPECT_EQ(steps, 12);
  EXPECT_TRUE(record.was_told("not saved, training goes on"));
  EXPECT_TRUE(record.was_told("File too large"));
  EXPECT_EQ(checkpoint_steps(checkpoints("run")), (std::vector<std::int64_t>{8, 12}));
}

TEST_F(ForeignFiles, ANameCannotWriteIntoTheLog) {
  train("run", {"name=\"a\\e[2J\\nstep 99\""});
  EXPECT_EQ(error, "");
  const std::string log = file_bytes(folder_ / "run/train.log");
  EXPECT_EQ(log.find('\x1b'), std::string::npos);
  EXPECT_NE(log.find("a\\x1b[2J\\nstep 99 on "), std::string::npos) << log.substr(0, 200);
}

TEST_F(ForeignFiles, AnExportIsWholeAndVerified) {
  train("run");
  const ModelSource run = find_model(folder_ / "run");
  const auto refused = [&](const std::string& part, auto what) {
    error.clear();
    try {
      what();
    } catch (const Error& caught) {
      error = caught.what();
    }
    expect_error(part);
  };
  refused("is the folder of another kind of work (training run, not exported model)",
          [&] { export_model(run, ExportFormat::reference, folder_ / "run"); });
  folder_.write("theirs/config.json", "{}");
  refused("holds 'config.json'",
          [&] { export_model(run, ExportFormat::reference, folder_ / "theirs"); });
  EXPECT_EQ(file_bytes(folder_ / "theirs/config.json"), "{}");

  // An export that was killed is no model, and the next one takes its place.
  {
    const OutputFolder begun(folder_ / "out", "exported model");
    folder_.write("out/.exporting/model.safetensors", "half");
  }
  refused("no model there", [&] { find_model(folder_ / "out"); });
  export_model(run, ExportFormat::reference, folder_ / "out");
  EXPECT_FALSE(fs::exists(folder_ / "out/.exporting"));
  const fs::path weights = folder_ / "out/model.safetensors";
  EXPECT_TRUE(SafetensorsReader(weights).verify());
  std::string bytes = file_bytes(weights);
  bytes[bytes.size() - 5] = static_cast<char>(bytes[bytes.size() - 5] ^ 4);
  folder_.write("out/model.safetensors", bytes);
  refused("do not match their checksum", [&] {
    const SafetensorsReader reader(weights);
    for (const TensorInfo& tensor : reader.tensors()) {
      std::vector<std::byte> read(tensor.bytes);
      reader.read(tensor.name, 0, read);
    }
  });
  folder_.write("out/model.safetensors", bytes.substr(0, bytes.size() - 1));
  refused("it is damaged", [&] { SafetensorsReader reader(weights); });
}

}  // namespace
}  // namespace memengine
