// One variant after the other over the same windows, tasks and questions.
#include "engine/memory_probe/silence/ablation.h"

#include <algorithm>
#include <cmath>

#include "engine/evaluation/eval_model.h"
#include "engine/memory_probe/silence/silencer.h"
#include "io/tokenizers/special_tokens.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// Mean loss of every window.
std::vector<double> window_losses(ProbeModel& model, Corpus& corpus) {
  std::vector<double> losses;
  ScoreRows rows;
  std::vector<double> log_probabilities;
  std::vector<std::int32_t> best;
  corpus.rewind();
  while (corpus.next(rows)) {
    model.model().score(rows, log_probabilities, best);
    for (std::size_t i = 0; i < log_probabilities.size(); ++i) {
      if (i % static_cast<std::size_t>(corpus.length()) == 0) losses.push_back(0);
      losses.back() -= log_probabilities[i] / static_cast<double>(corpus.length());
    }
  }
  return losses;
}

double mean(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double x : numbers) sum += x;
  return sum / static_cast<double>(std::max<std::size_t>(numbers.size(), 1));
}

double standard_error(const std::vector<double>& numbers) {
  if (numbers.size() < 2) return 0;
  const double middle = mean(numbers);
  double squares = 0;
  for (const double x : numbers) squares += (x - middle) * (x - middle);
  const auto count = static_cast<double>(numbers.size());
  return std::sqrt(squares / (count - 1) / count);
}

struct Variant {
  AblationResult named;
  std::function<void(Silencer&)> silence;
};

std::vector<Variant> variants_of(const ProbeModel& model, const AblationOptions& options) {
  std::vector<Variant> variants = {{{}, [](Silencer& silencer) { silencer.clear(); }}};
  for (std::size_t m = 0; m < model.layers().size(); ++m) {
    const std::int64_t layer = model.layers()[m];
    AblationResult named;
    named.silenced = fmt::format("layer {}", layer);
    named.layer = layer;
    variants.push_back({named, [m](Silencer& silencer) { silencer.layer(m); }});
    for (std::int64_t head = 0; head < model.heads(); ++head) {
      named.silenced = fmt::format("layer {} head {}", layer, head);
      named.head = head;
      variants.push_back({named, [m, head](Silencer& silencer) {
                            silencer.head(m, static_cast<std::size_t>(head));
                          }});
    }
  }
  if (options.rows.empty()) return variants;
  const std::size_t table_of = memory_of_layer(model, options.rows_layer);
  AblationResult named;
  named.silenced = options.rows.size() == 1 ? fmt::format("row {}", options.rows[0])
                                            : fmt::format("{} rows", options.rows.size());
  variants.push_back(
      {named, [&options, table_of](Silencer& s) { s.rows(options.rows, table_of); }});
  return variants;
}

}  // namespace

void check_rows(const ProbeModel& model, const std::vector<std::int64_t>& rows) {
  for (const std::int64_t row : rows) {
    if (row >= 0 && row < model.rows()) continue;
    fail_input("row {}: {}'s table has rows 0 to {}", row, model.source().folder.string(),
               model.rows() - 1);
  }
}

std::size_t memory_of_layer(const ProbeModel& model, std::int64_t layer) {
  if (layer < 0) return 0;
  const auto found = std::find(model.layers().begin(), model.layers().end(), layer);
  if (found == model.layers().end()) {
    fail_input("layer {} holds no memory: those that do are {}", layer,
               fmt::join(model.layers(), ", "));
  }
  return static_cast<std::size_t>(found - model.layers().begin());
}

Ablation run_ablation(ProbeModel& model, const AblationOptions& options,
                      const AblationProgress& progress) {
  check_rows(model, options.rows);
  const std::vector<Variant> variants = variants_of(model, options);
  std::string what;
  const auto report = [&](const char* part) {
    return [&, part](std::int64_t done, std::int64_t all) {
      if (progress) progress(fmt::format("{}: {}", what, part), done, all);
    };
  };
  Corpus corpus(model, options.corpus, report("loss"));
  EvalModel language_model(model.model(), model.tokenizer(),
                           std::min(model.config().max_seqlen, model.model().size().tokens),
                           end_tokens(model.source(), model.tokenizer()));
  const SpecialTokenEncoder encoder(model.tokenizer(), model.source().space_in_front,
                                    model.source().add_bos);
  EvalOptions evaluation;
  for (const std::string& task : options.tasks) evaluation.tasks.push_back({task, 0});
  evaluation.data_root = options.task_data;
  evaluation.limit = options.task_limit;
  if (!options.questions.empty()) {
    const auto limit = static_cast<double>(options.question_limit);
    evaluation.tasks.push_back({"recall", 0, limit, options.questions, {}});
  }
  if (!evaluation.tasks.empty()) {  // before the first pass
    check_requests([&](std::string_view text) { return encoder.encode(text); }, evaluation,
                   language_model.max_length());
  }

  Ablation ablation;
  ablation.corpus = corpus.what();
  ablation.tokens = corpus.tokens();
  Silencer silencer(model);
  std::vector<double> whole;
  for (const Variant& variant : variants) {
    AblationResult result = variant.named;
    what = result.silenced.empty() ? "whole model" : result.silenced;
    variant.silence(silencer);
    std::vector<double> losses = window_losses(model, corpus);
    result.loss = mean(losses);
    if (whole.empty()) whole = losses;
    for (std::size_t i = 0; i < losses.size(); ++i) losses[i] -= whole[i];
    result.change = mean(losses);
    result.change_error = standard_error(losses);
    if (!evaluation.tasks.empty()) {
      const auto encode = [&](std::string_view text) { return encoder.encode(text); };
      result.tasks = evaluate(language_model, encode, evaluation,
                              [&](const std::string& task, std::size_t done, std::size_t all) {
                                report(task.c_str())(static_cast<std::int64_t>(done),
                                                     static_cast<std::int64_t>(all));
                              });
      for (EvalTaskResult& task : result.tasks) task.samples.clear();
      if (!options.questions.empty()) {
        result.recall = std::move(result.tasks.back());
        result.tasks.pop_back();
      }
    }
    ablation.results.push_back(std::move(result));
  }
  ablation.windows = static_cast<std::int64_t>(whole.size());
  return ablation;
}

}  // namespace memengine
