#include "cli/train_display.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/terminal.h"
#include "engine/clock.h"
#include "engine/run/run_lines.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

class PeopleDisplay : public TrainDisplay {
 public:
  void started(const RunConfig& config, const RunStart& start) override {
    line_.say(start_text(config, start));
    last_.steps = config.steps;
    said_ = now_seconds();
  }
  void stepped(const StepReport& report) override {
    last_ = report;
    show();
  }
  void progressed(const StepProgress& progress) override {
    constexpr double patience = 30;
    if (!line_.terminal() && now_seconds() - said_ < patience) return;
    last_.step = progress.step;
    last_.loss = progress.loss;
    last_.dense_gradient_norm = progress.dense_gradient_norm;
    last_.value_gradient_norm = progress.value_gradient_norm;
    last_.learning_rate = progress.learning_rate;
    last_.tokens_per_second = progress.tokens_per_second;
    last_.seconds_per_step = progress.seconds_per_step;
    last_.data_seconds_per_step = progress.data_seconds_per_step;
    last_.seconds_left = progress.seconds_left;
    show();
  }
  void validated(const ValidationReport& report) override { say(validation_line(report)); }
  void saved(const SaveReport& report) override { say(save_line(report)); }
  void evaluated(std::int64_t step, const std::string& table) override {
    say(format_text("evaluation at step {}\n{}", step, table));
    TrainDisplay::evaluated(step, table);
  }
  void noticed(const std::string& message) override {
    line_.say_above("note: " + printable(message));
  }
  void summarised(const std::string& text) override { say(text); }

 private:
  void show() {
    line_.show(step_columns(last_));
    said_ = now_seconds();
  }
  void say(const std::string& text) {
    line_.keep();
    line_.say(text);
  }

  LiveLine line_;
  StepReport last_;
  double said_ = 0;
};

using Json = nlohmann::ordered_json;

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json usage(const std::vector<BankUsage>& banks) {
  Json list = Json::array();
  for (const BankUsage& bank : banks) {
    list.push_back({{"table", bank.name},
                    {"unique_rows", bank.unique_rows},
                    {"picks", bank.picks},
                    {"rows", bank.rows},
                    {"rows_ever_used", bank.rows_ever_used},
                    {"usage_kl", number(bank.divergence)}});
  }
  return list;
}

class JsonDisplay : public TrainDisplay {
 public:
  void started(const RunConfig& config, const RunStart& start) override {
    put({{"event", "start"},
         {"name", config.name},
         {"dump_dir", config.dump_dir},
         {"device", start.device},
         {"steps", config.steps},
         {"resumed_step", start.resumed_step},
         {"parameters", start.parameters},
         {"value_parameters", start.value_parameters},
         {"flops_per_token", start.flops_per_token},
         {"tokens_per_step", config.tokens_per_step()}});
  }
  void stepped(const StepReport& report) override {
    put({{"event", "step"},
         {"step", report.step},
         {"steps", report.steps},
         {"loss", number(report.loss)},
         {"grad_norm", number(report.dense_gradient_norm)},
         {"value_grad_norm", number(report.value_gradient_norm)},
         {"lr", number(report.learning_rate)},
         {"value_lr", number(report.value_learning_rate)},
         {"total_tokens", report.total_tokens},
         {"tokens_per_second", number(report.tokens_per_second)},
         {"attainable_share", number(report.attainable_share)},
         {"seconds_left", number(report.seconds_left)},
         {"skipped_updates", report.skipped_updates},
         {"spikes", report.spikes},
         {"memory", usage(report.banks)}});
  }
  void validated(const ValidationReport& report) override {
    put({{"event", "validation"},
         {"step", report.step},
         {"loss", number(report.loss)},
         {"tokens", report.tokens},
         {"seconds", number(report.seconds)},
         {"memory", usage(report.banks)}});
  }
  void saved(const SaveReport& report) override {
    put({{"event", "save"},
         {"step", report.step},
         {"path", report.path},
         {"bytes", report.bytes},
         {"seconds", number(report.seconds)}});
  }
  void evaluated(std::int64_t step, const std::string& table) override {
    put({{"event", "evaluation"}, {"step", step}, {"table", table}});
    TrainDisplay::evaluated(step, table);
  }
  void noticed(const std::string& message) override {
    put({{"event", "note"}, {"message", message}});
  }
  void failed(const std::string& message) override {
    put({{"event", "failure"}, {"message", message}});
  }
  void summarised(const std::string& text) override { put({{"event", "end"}, {"summary", text}}); }

 private:
  void put(const Json& event) {
    line_.say(event.dump(-1, ' ', true, Json::error_handler_t::replace));
  }
  LiveLine line_;
};

class QuietDisplay : public TrainDisplay {
 public:
  void noticed(const std::string& message) override {
    fmt::print(stderr, "note: {}\n", printable(message));
  }
};

}  // namespace

std::unique_ptr<TrainDisplay> people_display() {
  return std::make_unique<PeopleDisplay>();
}

std::unique_ptr<TrainDisplay> json_display() {
  return std::make_unique<JsonDisplay>();
}

std::unique_ptr<TrainDisplay> quiet_display() {
  return std::make_unique<QuietDisplay>();
}

}  // namespace memengine
