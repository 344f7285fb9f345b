// The demo's result in words.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/demo/demo.h"
#include "engine/run/run_files.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

std::string percent(double share) {
  return fmt::format("{:.1f}%", 100 * share);
}

std::string count(std::int64_t number) {
  return number == 0 ? "-" : count_text(static_cast<double>(number));
}

double share_of(const DemoModel& model, const std::string& attribute) {
  for (const DemoScore& score : model.by_attribute) {
    if (score.attribute == attribute) return score.share;
  }
  return std::nan("");
}

// The standard error of the difference of two shares of the same questions, taken as independent.
double difference_error(const DemoModel& a, const DemoModel& b) {
  const auto variance = [](const DemoModel& model) {
    const double share = model.all.share;
    return share * (1 - share) / static_cast<double>(std::max<std::int64_t>(model.asked, 1));
  };
  return std::sqrt(variance(a) + variance(b));
}

// What further dense models stored in the seconds that they had.
std::string against_seconds(const DemoResult& result, const DemoModel& first,
                            const DemoModel& memory) {
  std::string text;
  for (const DemoModel& dense : result.models) {
    if (&dense == &first || dense.table_parameters > 0) continue;
    const double difference = memory.all.share - dense.all.share;
    std::string outcome = "the dense model stored more";
    if (std::abs(difference) <= 2 * difference_error(dense, memory)) {
      outcome = "a difference within what chance explains";
    } else if (difference > 0) {
      outcome = dense.all.share > 0 ? fmt::format("the memory model recalls {:.2f} times as many",
                                                  memory.all.share / dense.all.share)
                                    : "the memory model recalls more";
    }
    text += fmt::format(
        "{}, which trained for {:.1f} s where the memory model took {:.1f} s, recalls "
        "{:.0f}:\n{}.\n",
        dense.name, dense.seconds, memory.seconds, dense.recalled(), outcome);
  }
  return text;
}

const DemoModel* find_model(const DemoResult& result, bool with_table) {
  for (const DemoModel& model : result.models) {
    if ((model.table_parameters > 0) == with_table) return &model;
  }
  return nullptr;
}

}  // namespace

std::string demo_table(const DemoResult& result) {
  std::string table;
  const auto row = [&](const std::string& title,
                       const std::function<std::string(const DemoModel&)>& cell) {
    table += fmt::format("  {:<30}", title);
    for (const DemoModel& model : result.models) table += fmt::format(" {:>12}", cell(model));
    table += "\n";
  };
  row("", [](const DemoModel& model) { return model.name; });
  row("training FLOPs per token", [](const DemoModel& m) { return count(m.flops_per_token); });
  // Where all trained on as many tokens, the rows below have all that is of interest.
  const bool differ = std::any_of(
      result.models.begin(), result.models.end(),
      [&](const DemoModel& model) { return model.tokens != result.models.front().tokens; });
  if (differ) {
    row("training tokens", [](const DemoModel& m) { return count(m.tokens); });
    row("seconds of training", [](const DemoModel& m) { return fmt::format("{:.1f}", m.seconds); });
  }
  row("parameters, dense", [](const DemoModel& m) { return count(m.parameters); });
  row("parameters, value table", [](const DemoModel& m) { return count(m.table_parameters); });
  row("held-out loss, nats per token", [](const DemoModel& model) {
    return std::isfinite(model.loss) ? fmt::format("{:.3f}", model.loss) : "-";
  });
  for (const DemoScore& score : result.models.front().by_attribute) {
    std::string title = "recalled: " + score.attribute;
    std::replace(title.begin(), title.end(), '_', ' ');
    row(title, [&](const DemoModel& model) { return percent(share_of(model, score.attribute)); });
  }
  const DemoModel& first = result.models.front();
  row(first.asked < first.there ? fmt::format("recalled: {} of {} facts", first.asked, first.there)
                                : fmt::format("recalled: all {} facts", first.asked),
      [](const DemoModel& model) { return percent(model.all.share); });
  row("training tokens/s", [](const DemoModel& m) { return count_text(m.tokens_per_second); });
  row("table rows used", [](const DemoModel& model) {
    return std::isfinite(model.rows_used) && model.rows > 0
               ? fmt::format("{:.0f} of {}", model.rows_used, model.rows)
               : std::string("-");
  });
  return table;
}

std::string demo_verdict(const DemoResult& result) {
  const DemoModel* dense = find_model(result, false);
  const DemoModel* memory = find_model(result, true);
  if (dense == nullptr || memory == nullptr) return "";
  const double difference = memory->all.share - dense->all.share;
  const double error = difference_error(*dense, *memory);
  std::string text = fmt::format(
      "After {} tokens{}, at {:.1f}% of the dense model's FLOPs per token, the memory model "
      "recalls\n{:.0f} of {} facts exactly, the dense model {:.0f}{}.",
      count_text(static_cast<double>(memory->tokens)),
      memory->tokens == dense->tokens ? " each" : "",
      100.0 * static_cast<double>(memory->flops_per_token) /
          static_cast<double>(std::max<std::int64_t>(dense->flops_per_token, 1)),
      memory->recalled(), memory->asked, dense->recalled(),
      memory->tokens == dense->tokens
          ? ""
          : fmt::format(" after {}", count_text(static_cast<double>(dense->tokens))));
  if (std::abs(difference) <= 2 * error) {
    text += "\nThat difference is within what chance explains: this run shows no winner.\n";
  } else if (difference < 0) {
    text += "\nHere memory did not help: the dense model stored more.\n";
  } else {
    text +=
        "\nThe table's rows, of which a token reads only a few, hold what the dense weights of "
        "the\nsame cost do not.\n";
  }
  const double loss = memory->loss - dense->loss;
  if (std::isfinite(loss)) {
    text += fmt::format("Its held-out loss is {:.3f} nats per token {} than the dense model's.\n",
                        std::abs(loss), loss < 0 ? "lower" : "higher");
  }
  return text + against_seconds(result, *dense, *memory);
}

std::string demo_completions(const DemoResult& result, std::size_t shown) {
  const std::vector<DemoQuestion>& questions = result.questions;
  const auto trimmed = [](const std::string& text) {
    const std::size_t start = text.find_first_not_of(' ');
    return start == std::string::npos ? std::string() : text.substr(start);
  };
  std::string text;
  // Another person and another attribute each time, spread over the corpus.
  for (std::size_t i = 0; i < std::min(shown, questions.size()); ++i) {
    const std::size_t people = questions.size() / 6;
    const std::size_t at = std::min((i * people / shown) * 6 + i % 6, questions.size() - 1);
    const DemoQuestion& question = questions[at];
    text += fmt::format("  {} ...\n    {:<10} {}\n", printable(question.prompt), "the truth",
                        printable(trimmed(question.answer)));
    for (const DemoModel& model : result.models) {
      const auto said = model.completions.find(question.prompt);
      if (said == model.completions.end()) continue;
      const bool right = trimmed(said->second) == trimmed(question.answer);
      text += fmt::format("    {:<10} {}   {}\n", model.name, printable(trimmed(said->second)),
                          right ? "(right)" : "(wrong)");
    }
  }
  return text;
}

}  // namespace memengine
