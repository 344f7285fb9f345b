// The demo's result in words.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/demo/demo.h"
#include "engine/run/run_files.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

std::string percent(double share) {
  return fmt::format("{:.1f}%", 100 * share);
}

std::string row(const std::string& title, const std::string& dense, const std::string& memory) {
  return fmt::format("  {:<30} {:>12} {:>12}\n", title, dense, memory);
}

std::string speed(const DemoModel& model) {
  return model.tokens_per_second > 0 ? count_text(model.tokens_per_second) : "(earlier)";
}

// The standard error of the difference of two shares of the same questions, taken as independent.
double difference_error(const RecallScore& a, const RecallScore& b) {
  const auto variance = [](const RecallScore& score) {
    return score.share() * (1 - score.share()) / static_cast<double>(score.asked);
  };
  return std::sqrt(variance(a) + variance(b));
}

}  // namespace

std::string demo_table(const DemoResult& result) {
  const DemoModel& dense = result.dense;
  const DemoModel& memory = result.memory;
  const auto count = [](std::int64_t number) { return count_text(static_cast<double>(number)); };
  std::string table = row("", "dense", "memory");
  table +=
      row("training FLOPs per token", count(dense.flops_per_token), count(memory.flops_per_token));
  table += row("parameters, dense", count(dense.parameters), count(memory.parameters));
  table += row("parameters, value table", "-", count(memory.value_parameters));
  table += row("held-out loss, nats per token", fmt::format("{:.3f}", dense.loss),
               fmt::format("{:.3f}", memory.loss));
  for (std::size_t i = 0; i < dense.recall.by_attribute.size(); ++i) {
    std::string title = "recalled: " + dense.recall.by_attribute[i].attribute;
    std::replace(title.begin(), title.end(), '_', ' ');
    table += row(title, percent(dense.recall.by_attribute[i].share()),
                 percent(memory.recall.by_attribute[i].share()));
  }
  table += row(fmt::format("recalled: all {} facts", dense.recall.all.asked),
               percent(dense.recall.all.share()), percent(memory.recall.all.share()));
  table += row("training tokens/s", speed(dense), speed(memory));
  table += row("table rows used", "-", fmt::format("{} of {}", memory.rows_used, memory.rows));
  return table;
}

std::string demo_verdict(const DemoResult& result) {
  const RecallScore& dense = result.dense.recall.all;
  const RecallScore& memory = result.memory.recall.all;
  const double difference = memory.share() - dense.share();
  const double error = difference_error(dense, memory);
  std::string text = fmt::format(
      "After the same {} tokens, at {:.1f}% of the dense model's FLOPs per token, the memory model "
      "recalls\n{} of {} facts exactly, the dense model {}.",
      count_text(static_cast<double>(result.trained_tokens)),
      100.0 * static_cast<double>(result.memory.flops_per_token) /
          static_cast<double>(result.dense.flops_per_token),
      memory.recalled, memory.asked, dense.recalled);
  if (std::abs(difference) <= 2 * error) {
    text += "\nThat difference is within what chance explains: this run shows no winner.\n";
  } else if (difference < 0) {
    text += "\nHere memory did not help: the dense model stored more.\n";
  } else {
    text +=
        "\nThe table's rows, of which a token reads only a few, hold what the dense weights of "
        "the\nsame cost do not.\n";
  }
  const double loss = result.memory.loss - result.dense.loss;
  text += fmt::format("Its held-out loss is {:.3f} nats per token {} than the dense model's.\n",
                      std::abs(loss), loss < 0 ? "lower" : "higher");
  return text;
}

std::string demo_completions(const DemoResult& result, std::size_t count) {
  const std::vector<RecallItem>& items = result.corpus.questions;
  const auto marked = [](const std::string& completion, const RecallItem& item) {
    const std::size_t start = completion.find_first_not_of(' ');
    const std::string said = start == std::string::npos ? "" : completion.substr(start);
    return printable(said) +
           ("   " + std::string(" " + said == item.answer ? "(right)" : "(wrong)"));
  };
  std::string text;
  // Another person and another attribute each time, spread over the corpus.
  for (std::size_t i = 0; i < std::min(count, items.size()); ++i) {
    const std::size_t people = items.size() / 6;
    const std::size_t at = std::min((i * people / count) * 6 + i % 6, items.size() - 1);
    text += fmt::format("  {} ...\n    the truth  {}\n    dense      {}\n    memory     {}\n",
                        printable(items[at].prompt), printable(items[at].answer.substr(1)),
                        marked(result.dense.recall.completions[at], items[at]),
                        marked(result.memory.recall.completions[at], items[at]));
  }
  return text;
}

}  // namespace memengine
