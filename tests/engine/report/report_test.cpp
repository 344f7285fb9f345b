// Reports on folders that the tests write: what stands in the page is what the lines say.
#include "engine/report/run_record.h"
#include "engine/report/run_report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "kernels/runtime/error.h"
#include "tests/engine/report/xml_testing.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class Report : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ =
        fs::path(::testing::TempDir()) /
        fmt::format("report_{}", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path write(const std::string& folder, const std::string& config, const std::string& metrics) {
    fs::create_directories(root_ / folder);
    if (!config.empty()) std::ofstream(root_ / folder / "config.yaml") << config;
    std::ofstream(root_ / folder / "metrics.jsonl") << metrics;
    return root_ / folder;
  }
  // Ten tokens and half a second a step, 100 FLOPs per token.
  static std::string line(int step, const std::string& loss, const std::string& more = "") {
    return fmt::format(
        "{{\"global_step\": {}, \"loss/out\": {}, \"optim/total_tokens\": {}, \"speed/wps\": 20, "
        "\"speed/FLOPS\": 2000, \"speed/curr_iter_time\": 0.5{}}}\n",
        step, loss, 10 * step, more);
  }
  std::vector<RunRecord> read(double target = 0) const {
    std::vector<RunRecord> records;
    for (const fs::path& run : find_runs({root_})) {
      records.push_back(read_run(run, {drawn_points(1), target}));
    }
    return records;
  }
  static const Figure& figure(const Comparison& comparison, std::size_t group,
                              const std::string& key) {
    for (std::size_t c = 0; c < comparison.columns.size(); ++c) {
      if (comparison.columns[c].key == key) return comparison.figures[group][c];
    }
    throw std::out_of_range("no column " + key);
  }

  fs::path root_;
};

TEST(RunRecord, NamesOfSeedsAreOneExperiments) {
  const std::pair<const char*, const char*> names[] = {{"dense-seed42", "dense"},
                                                       {"a_s=7_x", "a_x"},
                                                       {"s3", "s3"},
                                                       {"seed-19 wide", " wide"},
                                                       {"gpus4", "gpus4"},
                                                       {"lr0.1/seed_0/b", "lr0.1/b"},
                                                       {"seeds2", "seeds2"},
                                                       {"x-seed", "x-seed"},
                                                       {"x-seed7b", "x-seed7b"},
                                                       {"x-s1-seed2-y", "x-y"},
                                                       {"", ""},
                                                       {"Seed7", "Seed7"}};
  for (const auto& [name, rest] : names) EXPECT_EQ(without_seed(name), rest) << name;
  const std::string wide(300, 'w');
  EXPECT_EQ(without_seed(wide + "-seed3"), wide);
}

TEST_F(Report, SecondsAndFlopsFollowFromTheLines) {
  write("a", "", line(1, "5") + line(10, "4") + "{\"global_step\": 10, \"val/loss\": 4.5}\n");
  const RunRecord run = read().front();
  EXPECT_EQ(run.name, "a");  // nothing else names it
  EXPECT_DOUBLE_EQ(run.end.seconds, 5);
  EXPECT_DOUBLE_EQ(run.end.tokens, 100);
  EXPECT_DOUBLE_EQ(run.end.flops, 10000);
  EXPECT_DOUBLE_EQ(run.last("val/loss"), 4.5);
}

TEST_F(Report, RunsOfOneNameButForTheSeedAreALineWithItsStandardError) {
  const std::string config = "name: x-seed{0}\nseed: {0}\ndump_dir: d{0}\noptim:\n  lr: {1}\n";
  const double losses[] = {3.0, 3.2, 3.7};
  for (int seed = 0; seed < 3; ++seed) {
    write(fmt::format("r{}", seed), fmt::format(fmt::runtime(config), seed, "0.1"),
          line(1, "6") + line(2, fmt::format("{}", losses[seed])));
  }
  write("other", fmt::format(fmt::runtime(config), 1, "0.2"), line(1, "6") + line(2, "9"));
  const std::vector<RunRecord> records = read();
  const Comparison comparison = compare_runs(records, 0);
  ASSERT_EQ(comparison.groups.size(), 2u);  // "other" first, by its folder
  const std::size_t seeds = comparison.groups[0].runs.size() == 3 ? 0 : 1;
  const Figure& loss = figure(comparison, seeds, "loss");
  EXPECT_NEAR(loss.mean, 3.3, 1e-12);
  EXPECT_NEAR(loss.error, std::sqrt((0.09 + 0.01 + 0.16) / 2 / 3), 1e-12);
  ASSERT_EQ(comparison.differences.size(), 1u);  // neither name nor seed nor folder
  EXPECT_EQ(comparison.differences[0].first, "optim.lr");
  EXPECT_EQ(comparison.differences[0].second[seeds], "0.1");
  const XmlDocument page(report_html(comparison));
  EXPECT_EQ(page.count("//h:section[@id='losses']//h:div[contains(@class,'steps')]"
                       "//s:path[@class='band']"),
            1);
  EXPECT_EQ(page.text("//h:section[@id='differences']//h:code"), "optim.lr");
}

TEST_F(Report, WhenALossWasReachedIsSaidInAllUnitsWithRatios) {
  write("fast", "name: fast\n", line(1, "5") + line(2, "4") + line(3, "4.5"));
  write("slow", "name: slow\n", line(1, "5") + line(4, "4.1") + line(6, "3.9"));
  write("never", "name: never\n", line(1, "5") + line(6, "4.9"));
  const std::vector<RunRecord> records = read(4.0);
  const Comparison comparison = compare_runs(records, 4.0);
  EXPECT_FALSE(comparison.by_validation);
  EXPECT_EQ(figure(comparison, 0, "to_steps").mean, 2);
  EXPECT_EQ(figure(comparison, 0, "to_seconds").mean, 1);
  EXPECT_EQ(figure(comparison, 2, "to_tokens").mean, 60);
  EXPECT_EQ(figure(comparison, 2, "to_steps_ratio").mean, 3);
  EXPECT_EQ(figure(comparison, 1, "to_steps").count, 0u);
  const XmlDocument page(report_html(comparison));
  EXPECT_EQ(page.text("//h:section[@id='target']//h:tr[3]/h:td[2]"), "6");
  EXPECT_EQ(page.text("//h:section[@id='target']//h:tr[2]/h:td[2]"), "-");
}

TEST_F(Report, HostileNamesNumbersAndLinesAreShownOrLeftOut) {
  const std::string name = "</script><script>alert(1)</script>\\u0007&'\\\"";
  write(
      "a&<b>\xff", "name: \"]]><x>\"\noptim: {lr: '<i>'}\n",
      "{\"global_step\": 1, \"name\": \"" + name + "\", \"loss/out\": null, \"x\": \"y\"}\n" +
          "not json\n[1]\n{\"global_step\": \"one\"}\n{\"global_step\": 2, \"loss/out\": 1e999}\n" +
          "{\"global_step\": 3, \"loss/out\": {}, \"<img src=x>\": 1, \"pkm/<b>\": 2}\n" +
          "{\"global_step\": 4, \"loss/out\": 2.5");
  write("b", "name: [", line(1, "5"));
  const std::vector<RunRecord> records = read();
  const RunRecord& first = records[0].folder.filename() == "b" ? records[1] : records[0];
  EXPECT_GE(first.damaged_lines, 2);
  const XmlDocument page(report_html(compare_runs(records, 1)));
  EXPECT_EQ(page.count("//h:script"), 1);  // ours
  EXPECT_EQ(page.count("//h:img | //h:x | //h:i"), 0);
  const std::vector<std::string> buttons = page.texts("//h:button");
  ASSERT_EQ(buttons.size(), 2u);
  EXPECT_NE((buttons[0] + buttons[1]).find("<script>alert(1)</script>"), std::string::npos);
}

TEST_F(Report, MetricsThatAreMissingAreLeftOut) {
  write("a", "", "{\"global_step\": 7}\n");
  const std::vector<RunRecord> records = read();
  const Comparison comparison = compare_runs(records, 0);
  const XmlDocument page(report_html(comparison));
  EXPECT_EQ(page.count("//s:svg"), 0);
  EXPECT_THROW(figure(comparison, 0, "val_loss"), std::out_of_range);
  EXPECT_EQ(figure(comparison, 0, "steps").mean, 7);
}

TEST_F(Report, SpikesAndSkippedUpdatesAreMarked) {
  const auto step = [](int at, int spikes, int skipped, const char* norm) {
    return line(at, "3",
                fmt::format(", \"optim/grad_norm\": {}, \"optim/spikes\": {}, "
                            "\"optim/skipped_updates\": {}",
                            norm, spikes, skipped));
  };
  write("a", "",
        step(1, 0, 0, "1") + step(2, 1, 0, "50") + step(3, 1, 1, "null") + step(4, 1, 1, "1"));
  const std::vector<RunRecord> records = read();
  ASSERT_EQ(records[0].events.size(), 2u);
  EXPECT_EQ(records[0].events[0].place.step, 2);
  EXPECT_TRUE(records[0].events[1].skipped);
  const XmlDocument page(report_html(compare_runs(records, 0)));
  EXPECT_EQ(page.count("//s:path[@class='mark']"), 2);
}

TEST_F(Report, OnlyWhatIsDrawnIsThinned) {
  std::string lines;
  for (int step = 1; step <= 60000; ++step) {
    lines += line(step, step == 31234 ? "0.5" : step == 60000 ? "2.25" : "3");
  }
  write("a", "", lines);
  const std::vector<RunRecord> records = read(0.6);
  EXPECT_EQ(records[0].training_target.place.step, 31234);
  EXPECT_EQ(records[0].curve("loss/out")->least(), 0.5);
  EXPECT_EQ(records[0].last("loss/out"), 2.25);
  EXPECT_EQ(records[0].curve("loss/out")->lines(), 60000);
  const auto& parts = records[0].curve("loss/out")->parts();
  EXPECT_LE(parts.size(), 500u);
  EXPECT_GE(parts.size(), 250u);
  double sum = 0;
  std::int64_t count = 0;
  for (const CurvePart& part : parts) {
    sum += part.mean * static_cast<double>(part.count);
    count += part.count;
  }
  EXPECT_EQ(count, 60000);
  EXPECT_NEAR(sum, 3.0 * 59998 + 0.5 + 2.25, 1e-6);
  EXPECT_EQ(parts.back().place.step, 60000);
  EXPECT_LT(report_html(compare_runs(records, 0)).size(), 200000u);
}

TEST_F(Report, AFolderOfManyRunsStaysSmall) {
  for (int run = 0; run < 300; ++run) {
    write(fmt::format("r{:03}", run), fmt::format("name: n{}\n", run),
          line(1, "5") + line(2, fmt::format("{}", 3 + 0.01 * ((run * 7) % 300))));
  }
  const std::vector<RunRecord> records = read();
  ASSERT_EQ(records.size(), 300u);
  const XmlDocument page(report_html(compare_runs(records, 0)));
  EXPECT_EQ(page.count("//h:button"), static_cast<int>(most_drawn));
  EXPECT_EQ(page.count("(//h:section[@id='figures']//h:tbody)[1]/h:tr"), 300);
}

TEST_F(Report, CsvAndJsonHoldTheSameFigures) {
  write("a", "name: 'q\"uote, and comma'\n", line(1, "5") + line(2, "4.125"));
  const std::vector<RunRecord> records = read();
  const Comparison comparison = compare_runs(records, 0);
  const std::string csv = comparison_csv(comparison);
  EXPECT_NE(csv.find("\"q\"\"uote, and comma\",1,"), std::string::npos) << csv;
  EXPECT_NE(csv.find(",4.125,"), std::string::npos) << csv;
  const auto json = nlohmann::json::parse(comparison_json(comparison));
  EXPECT_EQ(json["runs"][0]["figures"]["loss"]["mean"], 4.125);
  EXPECT_TRUE(json["runs"][0]["figures"]["loss"]["stderr"].is_null());
}

// Bold is the lower loss and the higher recall; equal sums of seconds have no best.
TEST_F(Report, TheBestOfAColumnIsWhatItsFigureMeans) {
  const fs::path a = write("a", "name: a\n", line(1, "5"));
  const fs::path b = write("b", "name: b\n", line(1, "5.000000000001"));
  std::ofstream(a / "metrics.eval.jsonl")
      << R"({"global_step": 1, "t/loss": 3.5, "u/perplexity": 9, "recall/all": 0.25})";
  std::ofstream(b / "metrics.eval.jsonl")
      << R"({"global_step": 1, "t/loss": 3.25, "u/perplexity": 8, "recall/all": 0.125})";
  const std::vector<RunRecord> records = read(6);
  const Comparison comparison = compare_runs(records, 6);
  std::map<std::string, int> best;
  for (std::size_t c = 0; c < comparison.columns.size(); ++c) {
    best[comparison.columns[c].key] = best_group(comparison, c);
  }
  EXPECT_EQ(best.at("t/loss"), 1);
  EXPECT_EQ(best.at("u/perplexity"), 1);
  EXPECT_EQ(best.at("recall/all"), 0);
  EXPECT_EQ(best.at("loss"), -1);
  write("c", "name: c\n", "{\"global_step\": 1, \"loss/out\": 4}\n");
  const std::vector<RunRecord> more = read(6);
  EXPECT_EQ(figure(compare_runs(more, 6), 2, "to_flops").count, 0u);  // it does not say
}

// A column of the configs is told from a figure of the same name.
TEST_F(Report, CsvColumnsHaveNamesOfTheirOwn) {
  write("a", "name: a\nsteps: 2\n", line(1, "5") + line(2, "4"));
  write("b", "name: b\nsteps: 3\n", line(1, "5") + line(3, "4"));
  const std::vector<RunRecord> records = read();
  const std::string csv = comparison_csv(compare_runs(records, 0));
  std::istringstream header(csv.substr(0, csv.find('\n')));
  std::multiset<std::string> names;
  for (std::string name; std::getline(header, name, ',');) names.insert(name);
  EXPECT_EQ(names.count("steps"), 1u) << csv;
  EXPECT_EQ(names.count("config.steps"), 1u) << csv;
  EXPECT_EQ(names.size(), std::set<std::string>(names.begin(), names.end()).size()) << csv;
}

TEST_F(Report, WordsThatPythonWritesAreNumbersThatAreNotFinite) {
  write("a", "name: [\n",
        line(1, "5", ", \"note\": \"Infinity \\\" NaN\"") + line(2, "NaN") + line(3, "-Infinity") +
            line(4, "Infinity") + "{\"global_step\": NaNo}\n" + line(5, "4"));
  const RunRecord run = read().front();
  EXPECT_EQ(run.lines, 5);
  EXPECT_EQ(run.damaged_lines, 1);
  EXPECT_EQ(run.curve("loss/out")->not_finite(), 3);
  EXPECT_EQ(run.last("loss/out"), 4);
  EXPECT_TRUE(run.damaged_config);
  std::string csv;
  metrics_csv(root_ / "a", [&](std::string_view text) { csv += text; });
  EXPECT_NE(csv.find("Infinity \"\" NaN"), std::string::npos) << csv;
}

TEST_F(Report, ARunsCsvHasAColumnForEveryKey) {
  write("a", "",
        "{\"global_step\": 1, \"a\": null, \"t\": \"x,\\n\"}\nbad\n{\"b\": 2.5, \"a\": true}\n");
  std::string csv;
  metrics_csv(root_ / "a", [&](std::string_view text) { csv += text; });
  EXPECT_EQ(csv, "global_step,a,t,b\n1,,\"x,\n\",\n,true,,2.5\n");
}

// What was taught is asked first in both; "lost" stands before it in the alphabet.
TEST_F(Report, OneResultIsDrawnAgainstAnotherWithAPointPerSetting) {
  const auto evaluated = [&](const std::string& name, double first, double taught, double lost) {
    const fs::path run = write(name, "name: " + name + "\n", line(1, "5") + line(2, "4"));
    std::ofstream(run / "metrics.eval.jsonl")
        << fmt::format("{{\"global_step\": 1, \"taught/all\": {}, \"lost/loss\": 1}}\n", first)
        << fmt::format(
               "{{\"global_step\": 2, \"taught/all\": {}, \"taught/city\": 0.1, "
               "\"lost/loss\": {}}}\n",
               taught, lost);
  };
  evaluated("full", 0.25, 0.5, 2);
  evaluated("rows", 0.25, 1.0, 1);
  const std::vector<RunRecord> records = read();
  EXPECT_EQ(records[0].first_metrics, (std::vector<std::string>{"taught/all", "lost/loss"}));
  const std::string page = report_html(compare_runs(records, 0));
  EXPECT_EQ(XmlDocument(page).texts("//h:section[@id='trade-off']//s:text[@class='label']"),
            (std::vector<std::string>{"full", "rows"}));
  const std::size_t begin = page.find("lost/loss against taught/all");
  ASSERT_NE(begin, page.npos);
  const std::string picture = page.substr(begin, page.find("</svg>", begin) - begin);
  // From 0.25 at the left edge (58) to 1 at the right one (466); half of it is 0.5's place.
  EXPECT_NE(picture.find("<circle class=\"dot\" cx=\"194\""), picture.npos) << picture;
  EXPECT_NE(picture.find("<circle class=\"dot\" cx=\"466\""), picture.npos) << picture;
  fs::remove_all(root_ / "rows");  // a point alone is no comparison
  EXPECT_EQ(report_html(compare_runs(read(), 0)).find("against taught/all"), page.npos);
}

TEST_F(Report, WhatARunCameToIsDrawnAgainstWhatItTook) {
  const auto ran = [&](int i, int steps, double loss) {
    write(fmt::format("r{:02}", i), fmt::format("name: n{}\nsteps: {}\n", i, steps),
          line(1, "5") + line(steps, "4") +
              fmt::format("{{\"global_step\": {}, \"val/loss\": {}}}\n", steps, loss));
  };
  const auto labels = [&] {
    const std::string page = report_html(compare_runs(read(), 0));
    return XmlDocument(page).texts(
        "//h:section[@id='cost']/h:div/h:figure[1]//s:text[@class='label']");
  };
  ran(0, 10, 3.0);
  ran(1, 10, 2.9);
  EXPECT_TRUE(labels().empty());  // they took the same
  ran(2, 20, 2.0);
  EXPECT_EQ(labels(), (std::vector<std::string>{"n0", "n1", "n2"}));
  // Of many, the best for what they took: n2 is beaten by n3, which took as long.
  for (int i = 3; i < 20; ++i) ran(i, 20 + i / 4, i == 3 ? 1.5 : 2.5);
  EXPECT_EQ(labels(), (std::vector<std::string>{"n1", "n3"}));
}

TEST_F(Report, ARunThatSeveralPathsLeadToIsOneRun) {
  write("a", "", line(1, "3"));
  write("b", "", line(1, "3"));
  fs::create_directory_symlink(root_ / "a", root_ / "link");
  const std::vector<fs::path> expected = {root_ / "b", root_ / "a"};
  EXPECT_EQ(find_runs({root_ / "b", root_, root_ / "a/metrics.jsonl", root_ / "link"}), expected);
}

TEST_F(Report, WhatIsNoRunIsSaidInOneLine) {
  fs::create_directories(root_ / "empty");
  EXPECT_THROW(find_runs({root_ / "empty"}), Error);
  EXPECT_THROW(find_runs({root_ / "nowhere"}), Error);
  write("a", "", "nothing\n");
  EXPECT_THROW(read_run(root_ / "a", {}), Error);
}

}  // namespace
}  // namespace memengine
