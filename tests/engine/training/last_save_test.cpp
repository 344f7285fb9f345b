// The end of a run: its last save where the disk refuses it, and what a finished run is left as.
#include "tests/engine/training/training_testing.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using testing_io::FaultyFileSystem;

using LastSave = SmallRuns;

// Full when the last state is saved: tried again until there is room, or until patience ends.
TEST_F(LastSave, TheLastSaveIsTriedAgain) {
  FaultyFileSystem disk(-1);
  TrainingRecord record;
  const auto run = [&](const std::string& name, const std::string& minutes,
                       const std::function<bool()>& stop) {
    record = {};
    disk.room = UINT64_MAX;
    bool filled = false;
    Trainer trainer(config(name, {"checkpoint.retry_minutes=" + minutes}), {&record}, disk);
    return testing_io::input_error_of([&] {
      trainer.run([&] {
        if (trainer.step() == 12 && !filled) {
          filled = true;
          disk.room = 1000;
        }
        return stop();
      });
    });
  };
  int asked = 0;  // while it waits: somebody makes room
  EXPECT_EQ(run("room", "0.05",
                [&] {
                  if (record.was_told("the last state is not saved") && ++asked == 3) {
                    disk.room = UINT64_MAX;
                  }
                  return false;
                }),
            "no error");
  EXPECT_TRUE(record.was_told("trying again for 3s"));
  EXPECT_EQ(record.saves.back().step, 12);

  const std::string ended = run("full", "0.005", [] { return false; });
  EXPECT_NE(ended.find("the state of step 12 could not be saved: "), std::string::npos) << ended;
  EXPECT_EQ(record.saves.back().step, 8);
  const std::string given_up =
      run("stopped", "5", [&] { return record.was_told("the last state is not saved"); });
  EXPECT_NE(given_up.find("the state of step 12 could not be saved"), std::string::npos);
  EXPECT_EQ(train("full").resumed, 8);
  EXPECT_EQ(error, "");
}

TEST_F(LastSave, AFinishedRunStaysAsItWasMade) {
  train("run");
  const std::string before = file_bytes(folder_ / "run/config.yaml");
  const TrainingRecord again = train("run", {"name=other", "logging.freq=7"});
  EXPECT_EQ(error, "");
  EXPECT_EQ(again.resumed, 12);
  EXPECT_EQ(file_bytes(folder_ / "run/config.yaml"), before);
  train("run", {"name=other", "steps=13"});
  EXPECT_NE(file_bytes(folder_ / "run/config.yaml").find("name: other"), std::string::npos);
}

}  // namespace
}  // namespace memengine
