// The plan for the CPU is what the process takes: compared with the kernel's own count, VmHWM.
#include <sys/resource.h>

#include <cmath>
#include <sstream>

#include "engine/config/memory_plan.h"
#include "tests/cli/program.h"

namespace memengine {
namespace {

// Bytes of "memory: 365.5 MiB on the device, 1.2 MiB of host tables; ...".
double planned_bytes(const std::string& said) {
  const std::size_t at = said.find("memory: ");
  EXPECT_NE(at, std::string::npos) << said;
  double sum = 0;
  std::string text = said.substr(at + 8, said.find(';', at) - at - 8);
  for (std::size_t part = 0; part < text.size();) {
    const std::size_t end = std::min(text.find(", ", part), text.size());
    std::istringstream words(text.substr(part, end - part));
    std::string number, unit;
    words >> number >> unit;
    sum += static_cast<double>(parse_bytes(number + unit, "the plan"));
    part = end + 2;
  }
  return sum;
}

class MemoryTest : public testing::Test {
 protected:
  MemoryTest() {
    folder_.write("texts.jsonl", small_texts());
    folder_.write("config.yaml", small_config());
    run_well(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--validation", "0.2",
                       "--out", "data"});
  }

  void expect_as_planned(const std::vector<std::string>& overrides) {
    std::vector<std::string> arguments = {"train", "config.yaml", "steps=3", "validation.every=3",
                                          "device=cpu"};
    arguments.insert(arguments.end(), overrides.begin(), overrides.end());
    arguments.push_back("dump_dir=run" + std::to_string(++runs_));
    // Children's peaks are kept as their largest, so a run is measured in a child of a child.
    const pid_t child = ::fork();
    if (child == 0) {
      const Outcome outcome = run_program(folder_, arguments);
      rusage usage{};
      ::getrusage(RUSAGE_CHILDREN, &usage);
      const double planned = outcome.code == 0 ? planned_bytes(outcome.out) : -1;
      const double taken = static_cast<double>(usage.ru_maxrss) * 1024;
      const double allowed = std::max(0.1 * taken, 64.0 * (1 << 20));
      if (std::abs(planned - taken) > allowed) {
        std::printf("planned %.1f MiB, taken %.1f MiB\n%s%s", planned / (1 << 20),
                    taken / (1 << 20), outcome.out.c_str(), outcome.error.c_str());
        std::fflush(stdout);
        ::_exit(1);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 0) << testing::PrintToString(overrides);
  }

  TemporaryFolder folder_;
  int runs_ = 0;
};

TEST_F(MemoryTest, ThePlanIsWhatTheProcessTakes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory is no part of the plan";
#endif
  expect_as_planned({});
  expect_as_planned({"data.batch_size=64", "data.seq_len=64", "model.dim=128"});
  expect_as_planned(
      {"model.productkey_args.mem_n_keys=1024", "model.productkey_args.mem_v_dim=64"});
  expect_as_planned({"model.productkey_args.mem_n_keys=1024",
                     "model.productkey_args.zero_copy=true", "model.productkey_args.mem_v_dim=64"});
  expect_as_planned(
      {"model.vocab_size=32000", "model.dim=256", "validation.every=0", "checkpoint.dump.every=0"});
  expect_as_planned({"model.productkey_args.is_enabled=false", "model.n_layers=12", "model.dim=256",
                     "data.batch_size=16", "data.seq_len=256"});
}

}  // namespace
}  // namespace memengine
