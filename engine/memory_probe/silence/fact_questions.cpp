// Questions packed into passes: which rows they read, and whether they are answered.
#include <algorithm>
#include <deque>

#include "engine/evaluation/eval_model.h"
#include "engine/memory_probe/lookup_reader.h"
#include "engine/memory_probe/silence/facts.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// A question in a pass: its number and its first row there.
struct Placed {
  std::size_t question;
  std::int64_t first;
};

std::int64_t length_of(const FactQuestion& question) {
  return static_cast<std::int64_t>(question.prompt.size() + question.value.size()) - 1;
}

void sort_unique(std::vector<std::int64_t>& list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

std::vector<QuestionRows> read_question_rows(ProbeModel& model,
                                             const std::vector<FactQuestion>& questions,
                                             std::vector<std::int64_t>& reads) {
  const std::size_t memories = model.layers().size();
  reads.resize(static_cast<std::size_t>(model.rows()) * (model.shares_table() ? 1 : memories));
  std::vector<QuestionRows> rows(questions.size());
  std::deque<std::vector<Placed>> passes;  // those that are not looked at yet
  std::size_t at = 0;
  const NextPass next = [&](ScoreRows& pass) {
    pass.clear();
    std::vector<Placed> placed;
    while (at < questions.size() &&
           pass.size() + length_of(questions[at]) <= model.model().size().tokens) {
      const FactQuestion& question = questions[at];
      const std::int64_t first = pass.size();
      placed.push_back({at++, first});
      for (std::int64_t i = 0; i < length_of(question); ++i) {
        const auto split = static_cast<std::int64_t>(question.prompt.size());
        pass.tokens.push_back(i < split ? question.prompt[static_cast<std::size_t>(i)]
                                        : question.value[static_cast<std::size_t>(i - split)]);
        pass.targets.push_back(-1);
        pass.positions.push_back(static_cast<std::int32_t>(i));
        pass.document_start.push_back(static_cast<std::int32_t>(first));
      }
    }
    if (placed.empty()) return false;
    passes.push_back(std::move(placed));
    return true;
  };
  read_lookups(model.model(), {}, next, [&](const LookupPass& pass) {
    const std::int64_t picks = pass.heads * pass.knn;
    for (std::size_t m = 0; m < memories; ++m) {
      const std::int64_t table =
          model.shares_table() ? 0 : static_cast<std::int64_t>(m) * model.rows();
      const std::int32_t* picked = pass.memories[m].picks;
      for (std::int64_t i = 0; i < pass.size() * picks; ++i) {
        ++reads[static_cast<std::size_t>(table + picked[i])];
      }
      for (const Placed& placed : passes.front()) {
        const FactQuestion& question = questions[placed.question];
        const auto add = [&](std::vector<std::int64_t>& to, std::int64_t token) {
          const std::int32_t* from = picked + (placed.first + token) * picks;
          for (std::int64_t i = 0; i < picks; ++i) to.push_back(table + from[i]);
        };
        QuestionRows& of = rows[placed.question];
        const auto split = static_cast<std::int64_t>(question.prompt.size());
        for (std::int64_t i = split - 1; i < length_of(question); ++i) add(of.answer, i);
        add(of.name, question.name_end);
      }
    }
    passes.pop_front();
  });
  for (QuestionRows& of : rows) {
    sort_unique(of.answer);
    sort_unique(of.name);
  }
  return rows;
}

std::vector<FactAnswer> ask(ProbeModel& model, const std::vector<FactQuestion>& questions) {
  EvalModel language_model(model.model(), model.tokenizer(),
                           std::min(model.config().max_seqlen, model.model().size().tokens));
  std::vector<LoglikelihoodRequest> requests;
  for (const FactQuestion& question : questions) {
    requests.push_back({question.prompt, question.value});
  }
  std::vector<FactAnswer> answers;
  for (const Loglikelihood& answer : language_model.loglikelihoods(requests, {})) {
    answers.push_back({answer.is_greedy, answer.sum});
  }
  return answers;
}

}  // namespace memengine
