// metrics.jsonl: lines that any JSON reader takes, and a file that follows the run it belongs to.
#include "io/files/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;
namespace fs = std::filesystem;

void write_step(MetricsFile& file, std::int64_t step) {
  const Metric metrics[] = {{"global_step", step}, {"loss/out", 1.0 / static_cast<double>(step)}};
  file.write(metrics);
}

std::vector<std::int64_t> steps_of(const std::filesystem::path& path) {
  std::vector<std::int64_t> steps;
  std::istringstream lines(slurp(path));
  for (std::string line; std::getline(lines, line);) {
    steps.push_back(nlohmann::json::parse(line).at("global_step").get<std::int64_t>());
  }
  return steps;
}

TEST(Metrics, LinesAreJsonInTheCallersOrder) {
  const TemporaryFolder folder;
  MetricsFile file(folder / "m.jsonl", -1);
  const Metric metrics[] = {{"global_step", std::int64_t{7}},
                            {"loss/out", 0.1 + 0.2},
                            {"nan", std::nan("")},
                            {"inf", -INFINITY},
                            {"on", true},
                            {"name", std::string("a\"b\nc\xff")}};
  file.write(metrics);
  const std::string text = slurp(folder / "m.jsonl");  // flushed while still open
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  EXPECT_LT(text.find("global_step"), text.find("loss/out"));
  const auto line = nlohmann::json::parse(text);
  EXPECT_EQ(line["loss/out"].get<double>(), 0.1 + 0.2);
  EXPECT_TRUE(line["nan"].is_null());
  EXPECT_TRUE(line["inf"].is_null());
  EXPECT_EQ(line["on"], true);
}

TEST(Metrics, ResumeCutsWhatTheCheckpointDoesNotKnow) {
  const TemporaryFolder folder;
  const auto path = folder / "m.jsonl";
  {
    MetricsFile file(path, -1);
    for (int step = 1; step <= 9; ++step) write_step(file, step);
  }
  spill(path, slurp(path) + "{\"global_step\": 10, \"lo");  // killed in the middle of a line
  {
    MetricsFile file(path, 5);
    write_step(file, 6);
  }
  EXPECT_EQ(steps_of(path), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
  { MetricsFile file(path, 99); }
  EXPECT_EQ(steps_of(path).size(), 6u);
  { MetricsFile file(path, -1); }
  EXPECT_EQ(slurp(path), "");
  { MetricsFile file(folder / "absent.jsonl", 3); }
  EXPECT_NE(input_error_of([&] {
              MetricsFile file(folder / "no/m.jsonl", -1);
            }).find("m.jsonl: cannot create the file"),
            std::string::npos);
}

TEST(Metrics, ADamagedLineCostsNoOther) {
  const TemporaryFolder folder;
  const auto path = folder / "m.jsonl";
  {
    MetricsFile file(path, -1);
    for (int step = 1; step <= 6; ++step) write_step(file, step);
  }
  std::string text = slurp(path);
  text.replace(text.find("{\"global_step\": 3"), 3, "\xff\0[");
  spill(path, text);
  {
    MetricsFile file(path, 5);
    EXPECT_EQ(file.damaged_lines(), 1);
    write_step(file, 6);
  }
  const std::string after = slurp(path);
  EXPECT_EQ(std::count(after.begin(), after.end(), '\n'), 6);
  for (const int step : {1, 2, 4, 5, 6}) {
    EXPECT_NE(after.find("{\"global_step\": " + std::to_string(step)), std::string::npos) << step;
  }
  EXPECT_EQ(after.substr(0, text.find("{\"global_step\": 6")),
            text.substr(0, text.find("{\"global_step\": 6")));
  fs::create_symlink(path, folder / "link");
  EXPECT_NE(input_error_of([&] { MetricsFile(folder / "link", 3); }).find("symbolic link"),
            std::string::npos);
}

}  // namespace
}  // namespace memengine
