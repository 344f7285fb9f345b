// The demo's words, on results made up here: they follow the figures whoever wins.
#include <gtest/gtest.h>

#include "engine/demo/demo.h"

namespace memengine {
namespace {

DemoModel model(const std::string& name, double share, bool table) {
  DemoModel made;
  made.name = name;
  made.flops_per_token = 1'000'000;
  made.parameters = 300'000;
  made.table_parameters = table ? 600'000 : 0;
  made.loss = 0.5;
  made.tokens_per_second = 1000;
  made.tokens = 90'000'000;
  made.seconds = table ? 12.04 : 7;
  made.asked = made.there = 12'000;
  made.all = {"all", share};
  made.by_attribute = {{"major", share}};
  return made;
}

DemoResult three(double twin, double wide, double memory) {
  DemoResult result;
  result.models = {model("dense", twin, false), model("dense256", wide, false),
                   model("memory", memory, true)};
  result.models[1].flops_per_token = 9'000'000;
  result.models[1].tokens = 80'000'000;
  result.models[1].seconds = 11.96;
  return result;
}

void expect_words(const std::string& text, const std::string& words) {
  EXPECT_NE(text.find(words), std::string::npos) << words << "\nis not in\n" << text;
}

TEST(DemoReport, TwoDenseModelsAreAskedByFlopsAndBySeconds) {
  const std::string text = demo_verdict(three(0.02, 0.4, 0.7));
  expect_words(text, "After 90.00M tokens each, at 100.0% of the dense model's FLOPs per token");
  expect_words(text, "8400 of 12000 facts exactly, the dense model 240.");
  expect_words(
      text, "dense256, which trained for 12.0 s where the memory model took 12.0 s, recalls 4800:");
  expect_words(text, "the memory model recalls 1.75 times as many.");
}

TEST(DemoReport, SaysWhereTheDenseModelOfAsManySecondsWins) {
  const std::string text = demo_verdict(three(0.02, 0.8, 0.7));
  expect_words(text, "recalls 9600:\nthe dense model stored more.");
  EXPECT_EQ(text.find("times as many"), std::string::npos) << text;
  expect_words(demo_verdict(three(0.02, 0.705, 0.7)), "within what chance explains.");
  expect_words(demo_verdict(three(0.02, 0, 0.7)), "the memory model recalls more.");
}

TEST(DemoReport, SecondsAndTokensAreRowsWhereTokensDiffer) {
  const std::string table = demo_table(three(0.02, 0.4, 0.7));
  expect_words(table, "seconds of training");
  expect_words(table, "training tokens");
  expect_words(table, "dense256");
  expect_words(table, "recalled: all 12000 facts");
  DemoResult two = three(0.02, 0.4, 0.7);
  two.models.erase(two.models.begin() + 1);
  for (DemoModel& model : two.models) model.there = 120'000;
  expect_words(demo_table(two), "recalled: 12000 of 120000 facts");
  EXPECT_EQ(demo_table(two).find("seconds of training"), std::string::npos);
  EXPECT_EQ(demo_verdict(two).find("which trained for"), std::string::npos);
}

}  // namespace
}  // namespace memengine
