// Ranks that are shells, which see what a rank sees and end as ranks may end.
#include "engine/launch/launch_ranks.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

struct Ended {
  int code = -1;
  std::vector<std::string> said;
};

Ended launch(int ranks, const std::string& script, int signal = 0, double patience = 20) {
  Ended ended;
  Launch launch;
  launch.ranks = ranks;
  launch.program = "/bin/sh";
  launch.arguments = {"-c", script};
  launch.stop_signal = [signal] { return signal; };
  launch.say = [&](const std::string& line) { ended.said.push_back(line); };
  launch.seconds_after_failure = patience;
  ended.code = launch_ranks(launch);
  return ended;
}

TEST(LaunchRanks, OneCodeOfAll) {
  EXPECT_EQ(launch(3, "exit 0").code, 0);
  EXPECT_EQ(launch(3, "exit $MEMENGINE_RANK").code, 2) << "a wrong input comes first";
  EXPECT_EQ(launch(4, "exit $MEMENGINE_RANK").code, 2);
  EXPECT_EQ(launch(2, "exit $((3 * MEMENGINE_RANK))").code, 3);
  EXPECT_EQ(launch(2, "exit $((1 + 137 * MEMENGINE_RANK))").code, 1);
  EXPECT_EQ(launch(2, "exit 138").code, 138);
}

TEST(LaunchRanks, EachKnowsItsPlaceAndWhereToMeet) {
  const TemporaryFolder folder;
  const std::string file = (folder / "rank").string();
  ASSERT_EQ(
      launch(3,
             "echo $MEMENGINE_RANKS $MEMENGINE_MEETING $MEMENGINE_TOKEN "
             "$OMP_NUM_THREADS > " +
                 file +
                 "$MEMENGINE_RANK; "
                 "[ $MEMENGINE_RANK != 0 ] || readlink /proc/$$/fd/$MEMENGINE_LISTENING > " +
                 file + "listening; [ $MEMENGINE_RANK = 0 ] || [ -z \"$MEMENGINE_LISTENING\" ]")
          .code,
      0);
  const std::string zero = file_bytes(folder / "rank0");
  EXPECT_TRUE(zero.starts_with("3 ")) << zero;
  EXPECT_GT(zero.size(), 40U) << "a port and a token of 32 digits";
  for (const char* other : {"rank1", "rank2"}) EXPECT_EQ(file_bytes(folder / other), zero);
  EXPECT_TRUE(file_bytes(folder / "ranklistening").starts_with("socket:"));
  ASSERT_EQ(launch(2, "echo $MEMENGINE_RANKS $MEMENGINE_MEETING $MEMENGINE_TOKEN > " + file +
                          "$MEMENGINE_RANK")
                .code,
            0);
  EXPECT_NE(file_bytes(folder / "rank0").substr(2), zero.substr(2)) << "another run, another token";
}

TEST(LaunchRanks, AKilledRankIsNamedAndOthersAreNotWaitedForForever) {
  const Ended killed = launch(3, "[ $MEMENGINE_RANK != 1 ] || kill -9 $$; exit 0");
  EXPECT_EQ(killed.code, 1);
  ASSERT_EQ(killed.said.size(), 1U);
  EXPECT_EQ(killed.said[0], "rank 1 was killed by signal 9 (Killed)");
  const auto begin = std::chrono::steady_clock::now();
  const Ended stuck = launch(2, "[ $MEMENGINE_RANK != 1 ] || exit 1; exec sleep 60", 0, 0.3);
  EXPECT_EQ(stuck.code, 1);
  ASSERT_EQ(stuck.said.size(), 1U);
  EXPECT_EQ(stuck.said[0], "rank 0 did not end and was killed");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(LaunchRanks, AStopGoesToRankZeroAlone) {
  const TemporaryFolder folder;
  // The others wait until rank 0 has been asked.
  const std::string script =
      "cd " + folder.path().string() +
      "; if [ $MEMENGINE_RANK = 0 ]; then trap 'touch asked; exit 138' USR1; touch ready; fi; "
      "trap 'exit 1' TERM; i=0; while [ ! -e asked ] && [ $i -lt 400 ]; do sleep 0.02; i=$((i+1)); "
      "done; exit 138";
  Launch launch;
  launch.ranks = 3;
  launch.program = "/bin/sh";
  launch.arguments = {"-c", script};
  launch.stop_signal = [&] { return std::filesystem::exists(folder / "ready") ? SIGUSR1 : 0; };
  launch.say = [](const std::string& line) { ADD_FAILURE() << line; };
  EXPECT_EQ(launch_ranks(launch), 138);
  EXPECT_TRUE(std::filesystem::exists(folder / "asked"));
}

TEST(LaunchRanks, NumbersOfGpus) {
  for (const char* wrong : {"", "0", "-1", "two", "1e1", "99999999999999999999"}) {
    EXPECT_THROW(gpus_asked(wrong), Error) << wrong;
  }
  EXPECT_THROW(gpus_asked(std::to_string(visible_gpus() + 1)), Error);
  if (visible_gpus() > 0) {
    EXPECT_EQ(gpus_asked("all"), visible_gpus());
  } else {
    EXPECT_THROW(gpus_asked("all"), Error);
  }
}

}  // namespace
}  // namespace memengine
