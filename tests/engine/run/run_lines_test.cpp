// The lines of a run: what a narrow window keeps, and numbers that are none.
#include "engine/run/run_lines.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/run/display_width.h"

namespace memengine {
namespace {

StepReport report(int tables = 1) {
  StepReport step;
  step.step = step.banks_step = 120;
  step.steps = 100000;
  step.loss = 6.4248;
  step.dense_gradient_norm = 0.411;
  step.learning_rate = 1.94e-3;
  step.tokens_per_second = 404060;
  step.seconds_per_step = 0.5;
  step.data_seconds_per_step = 0.001;
  step.seconds_left = 4 * 3600 + 12 * 60;
  for (int i = 0; i < tables; ++i) {
    BankUsage bank;
    bank.name = "layers." + std::to_string(4 * i + 2) + ".feed_forward.values.weight";
    bank.unique_rows = 2678;
    bank.picks = 65536;
    bank.rows = 16384;
    bank.rows_ever_used = 16384;
    bank.divergence = 2.9;
    step.banks.push_back(bank);
  }
  return step;
}

TEST(RunLines, LossAndTimeLeftStayInEveryWindow) {
  for (const int tables : {0, 1, 2, 8}) {
    const std::vector<LineColumn> columns = step_columns(report(tables));
    std::size_t before = 0;
    for (std::size_t width = 48; width <= 700; ++width) {
      const std::string line = fit_columns(columns, width);
      EXPECT_LE(display_width(line), width);
      EXPECT_NE(line.find("loss 6.4248"), std::string::npos) << line;
      EXPECT_TRUE(line.ends_with("left 4h 12m")) << line;
      EXPECT_GE(display_width(line) + 60, before) << "a wider window shows no less";
      before = display_width(line);
    }
    EXPECT_EQ(fit_columns(columns, 700), step_line(report(tables)));
    EXPECT_EQ(fit_columns(columns, 0), step_line(report(tables)));
  }
}

TEST(RunLines, TheMemoryIsSeenAtEightyColumns) {
  const std::string line = fit_columns(step_columns(report()), 79);
  EXPECT_NE(line.find("rows 2678 (4.1%)"), std::string::npos) << line;
  EXPECT_NE(line.find("KL 2.90"), std::string::npos) << line;
  EXPECT_EQ(line.find("lr "), std::string::npos) << line;
  EXPECT_EQ(fit_columns(step_columns(report()), 10), "step    1…") << "not even the least fits";
}

TEST(RunLines, SeveralTablesAreNamed) {
  const std::string line = step_line(report(2));
  EXPECT_NE(line.find("layer 2: rows 2678"), std::string::npos) << line;
  EXPECT_NE(line.find("layer 6: rows 2678"), std::string::npos) << line;
  EXPECT_EQ(step_line(report(1)).find("layer"), std::string::npos);
  EXPECT_EQ(table_title("layers.12.feed_forward.values.weight"), "layer 12");
  EXPECT_EQ(table_title("layers.12.feed_forward.values_u.weight"), "layer 12 u");
  EXPECT_EQ(table_title("layers.12.feed_forward.values_v.weight"), "layer 12 v");
  EXPECT_EQ(table_title("another"), "another");
  RunConfig config;
  config.name = "run";
  config.model.productkey_args.mem_n_keys = 128;
  config.model.dim = 64;
  RunStart start;
  start.value_parameters = 2 * 16384 * 64;
  start.tables = {"layers.2.feed_forward.values.weight", "layers.6.feed_forward.values.weight"};
  EXPECT_NE(start_text(config, start)
                .find("2 value tables (layer 2, layer 6), each 16384 rows x 64 = 2.10M in all"),
            std::string::npos)
      << start_text(config, start);
}

// Every figure 0 or no number at all: no line says "nan%" or "inf", and a loss is never "-nan".
TEST(RunLines, RatiosOfNothingAreADash) {
  StepReport step = report(2);
  step.seconds_per_step = step.data_seconds_per_step = 0;
  step.seconds_left = std::numeric_limits<double>::quiet_NaN();
  step.loss = -std::numeric_limits<double>::quiet_NaN();
  step.banks[0] = BankUsage{};
  const std::string line = step_line(step);
  EXPECT_EQ(line.find("nan%"), std::string::npos) << line;
  EXPECT_EQ(line.find("-nan"), std::string::npos) << line;
  EXPECT_NE(line.find("loss nan"), std::string::npos) << line;
  EXPECT_NE(line.find("rows 0 (-)"), std::string::npos) << line;
  EXPECT_NE(line.find("data -"), std::string::npos) << line;
  EXPECT_TRUE(line.ends_with("left -")) << line;
  ValidationReport validation;
  validation.banks = {BankUsage{}};
  EXPECT_EQ(validation_line(validation).find("nan"), std::string::npos)
      << validation_line(validation);
  EXPECT_EQ(BankUsage{}.unique_share(), 0);
  EXPECT_EQ(CacheUse{}.hit_share(), 0);
  EXPECT_EQ(BankUsage{}.ever_used_share(), 0);
  EXPECT_EQ(percent_text(1, 0), "-");
  EXPECT_EQ(percent_text(1, 8), "12.5%");
}

TEST(RunLines, FiguresOfAnEarlierStepSayOfWhich) {
  StepReport step = report(2);
  step.banks_step = 100;
  EXPECT_NE(step_line(step).find("at 100: layer 2: rows"), std::string::npos) << step_line(step);
  EXPECT_EQ(step_line(step).find("at 100: layer 6"), std::string::npos) << step_line(step);
}

TEST(RunLines, AStepThatWaitsForDataSaysSo) {
  StepReport step = report();
  EXPECT_EQ(fit_columns(step_columns(step), 100).find("data"), std::string::npos);
  step.data_seconds_per_step = 0.2;
  EXPECT_NE(fit_columns(step_columns(step), 100).find("data 40.0%"), std::string::npos);
}

}  // namespace
}  // namespace memengine
