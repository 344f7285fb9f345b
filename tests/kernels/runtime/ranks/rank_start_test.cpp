// What each starter leaves in the environment, written down by hand.
#include "kernels/runtime/ranks/rank_start.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/join_ranks.h"

namespace memengine {
namespace {

using Variables = std::map<std::string, std::string>;

RankStart place_in(const Variables& variables) {
  return rank_start([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string error_in(const Variables& variables) {
  try {
    place_in(variables);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

TEST(RankStart, AloneUnlessSomebodyStartedSeveral) {
  for (const Variables& variables :
       {Variables{}, Variables{{"RANK", "0"}, {"WORLD_SIZE", "1"}},
        Variables{{"WORLD_SIZE", "4"}},  // left over from somewhere
        Variables{{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}},
        // A batch script of eight tasks, not started by srun.
        Variables{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}}) {
    const RankStart place = place_in(variables);
    EXPECT_EQ(place.size, 1);
    EXPECT_EQ(place.starter, RankStart::Starter::nobody);
  }
}

TEST(RankStart, Torchrun) {
  Variables variables = {{"RANK", "5"},
                         {"WORLD_SIZE", "8"},
                         {"LOCAL_RANK", "1"},
                         {"LOCAL_WORLD_SIZE", "4"},
                         {"MASTER_ADDR", "n7"},
                         {"MASTER_PORT", "29500"},
                         {"TORCHELASTIC_RUN_ID", "a"}};
  const RankStart place = place_in(variables);
  EXPECT_EQ(place.rank, 5);
  EXPECT_EQ(place.size, 8);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_FALSE(place.one_host());
  EXPECT_EQ(place.address, "n7");
  EXPECT_EQ(place.first_port, 29501) << "torchrun itself listens at 29500";
  EXPECT_GT(place.ports, 8);
  EXPECT_EQ(place.token.size(), 32U);
  variables["RANK"] = "0";
  EXPECT_EQ(place_in(variables).token, place.token);
  variables["TORCHELASTIC_RUN_ID"] = "b";
  EXPECT_NE(place_in(variables).token, place.token);
  variables["WORLD_SIZE"] = "5";
  variables["RANK"] = "5";
  EXPECT_NE(error_in(variables).find("RANK=5"), std::string::npos);
  variables["RANK"] = "one";
  EXPECT_NE(error_in(variables).find("RANK=one"), std::string::npos);
}

TEST(RankStart, Mpirun) {
  Variables variables = {{"OMPI_COMM_WORLD_RANK", "2"},
                         {"OMPI_COMM_WORLD_SIZE", "3"},
                         {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                         {"OMPI_COMM_WORLD_LOCAL_SIZE", "3"},
                         {"PMIX_NAMESPACE", "3957522433"}};
  const RankStart place = place_in(variables);
  EXPECT_EQ(place.starter, RankStart::Starter::mpirun);
  EXPECT_TRUE(place.one_host());
  EXPECT_EQ(place.address, "127.0.0.1");
  variables["PMIX_NAMESPACE"] = "3957522434";
  EXPECT_NE(place_in(variables).token, place.token) << "another job";
  variables["OMPI_COMM_WORLD_LOCAL_SIZE"] = "2";
  EXPECT_NE(error_in(variables).find("MASTER_ADDR"), std::string::npos);
  variables["MASTER_ADDR"] = "head";
  EXPECT_EQ(place_in(variables).address, "head");
}

TEST(RankStart, Srun) {
  Variables variables = {{"SLURM_PROCID", "9"},   {"SLURM_STEP_NUM_TASKS", "16"},
                         {"SLURM_LOCALID", "1"},  {"SLURM_STEP_NUM_NODES", "2"},
                         {"SLURM_JOB_ID", "811"}, {"SLURM_STEP_ID", "0"},
                         {"SLURM_NTASKS", "16"},  {"SLURM_STEP_NODELIST", "gpu[07-08]"}};
  const RankStart place = place_in(variables);
  EXPECT_EQ(place.starter, RankStart::Starter::srun);
  EXPECT_EQ(place.rank, 9);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.address, "gpu07");
  EXPECT_FALSE(place.one_host());
  variables["SLURM_STEP_ID"] = "1";
  EXPECT_NE(place_in(variables).token, place.token) << "another step";
  EXPECT_NE(place_in(variables).first_port, place.first_port);
}

TEST(RankStart, OurOwnLauncherComesFirst) {
  const RankStart place = place_in({{"MEMENGINE_RANK", "1"},
                                    {"MEMENGINE_RANKS", "2"},
                                    {"MEMENGINE_MEETING", "4711"},
                                    {"MEMENGINE_TOKEN", "00112233445566778899aabbccddeeff"},
                                    {"RANK", "0"},
                                    {"WORLD_SIZE", "9"}});
  EXPECT_EQ(place.starter, RankStart::Starter::memengine);
  EXPECT_EQ(place.rank, 1);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.first_port, 4711);
  EXPECT_EQ(place.ports, 1);
  EXPECT_EQ(place.token, "00112233445566778899aabbccddeeff");
}

TEST(RankStart, FirstHostOfAList) {
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("n[007-012,40],login"), "n007");
  EXPECT_EQ(first_host("n[3,5-9]"), "n3");
  EXPECT_EQ(first_host("rack[1-2]n[4-5]"), "rack1n4");
  EXPECT_EQ(first_host("gpu[1-4]-ib,x"), "gpu1-ib");
  EXPECT_EQ(first_host(""), "");
}

TEST(SeeOwnGpu, NarrowsWhatIsVisible) {
  const char* variable = "CUDA_VISIBLE_DEVICES";
  RankStart place;
  place.size = 4;
  place.rank = 3;
  place.local_rank = 1;
  const auto seen = [&](const char* before) {
    if (before == nullptr) {
      ::unsetenv(variable);
    } else {
      ::setenv(variable, before, 1);
    }
    see_own_gpu(place);
    return std::string(std::getenv(variable));
  };
  EXPECT_EQ(seen(nullptr), "1");
  EXPECT_EQ(seen("4,6"), "6");
  EXPECT_EQ(seen("7"), "7") << "SLURM gave it that one";
  EXPECT_EQ(seen("GPU-a,GPU-b,GPU-c"), "GPU-b");
  place.local_rank = 2;
  ::setenv(variable, "4,6", 1);
  EXPECT_THROW(see_own_gpu(place), Error);
  ::unsetenv(variable);
}

}  // namespace
}  // namespace memengine
