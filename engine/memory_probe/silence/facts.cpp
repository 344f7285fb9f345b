// The study: choose facts, silence, ask again.
#include "engine/memory_probe/silence/facts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <set>
#include <string_view>
#include <unordered_map>

#include "engine/memory_probe/silence/silencer.h"
#include "io/synthetic/biographies.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::int64_t most_people = 2000;  // whose questions are read: enough to draw others from

struct Fact {
  std::int64_t person = 0;
  std::vector<std::size_t> paraphrases;  // places in the list of all questions; the first is
};                                       // passage 0's

FactQuestion as_tokens(const ProbeModel& model, const std::string& name,
                       const RecallQuestion& question) {
  FactQuestion tokens;
  tokens.prompt = model.encode(question.prompt);
  const std::vector<std::int32_t> whole = model.encode(question.prompt + question.answer + ".");
  if (whole.size() <= tokens.prompt.size() ||
      !std::equal(tokens.prompt.begin(), tokens.prompt.end(), whole.begin())) {
    // The tokenizer joins the prompt's end to the value: the split is where they first differ.
    const auto [end, ignored] =
        std::mismatch(tokens.prompt.begin(), tokens.prompt.end(), whole.begin(), whole.end());
    tokens.prompt.resize(static_cast<std::size_t>(end - tokens.prompt.begin()));
  }
  tokens.value.assign(whole.begin() + static_cast<std::ptrdiff_t>(tokens.prompt.size()),
                      whole.end());
  tokens.name_end = std::min(static_cast<std::int64_t>(model.encode(name).size()),
                             static_cast<std::int64_t>(tokens.prompt.size())) -
                    1;
  return tokens;
}

// All questions of the people, and which of them tell one fact.
struct Questions {
  std::vector<FactQuestion> tokens;
  std::vector<Fact> facts;
};

Questions write_questions(const ProbeModel& model, const FactsOptions& options) {
  const BiographyCorpus corpus(options.seed, options.people, options.passages);
  Questions questions;
  for (std::int64_t index = 0; index < std::min(options.people, most_people); ++index) {
    const Biography person = corpus.person(index);
    std::array<std::set<std::string>, biography_attribute_count> prompts;
    const std::size_t first = questions.facts.size();
    questions.facts.resize(first + biography_attribute_count, {index, {}});
    for (int passage = 0; passage < options.passages; ++passage) {
      const auto asked = corpus.questions(person, index, passage);
      for (std::size_t a = 0; a < asked.size(); ++a) {
        if (!prompts[a].insert(asked[a].prompt).second) continue;
        questions.facts[first + a].paraphrases.push_back(questions.tokens.size());
        questions.tokens.push_back(as_tokens(model, person.name, asked[a]));
      }
    }
  }
  return questions;
}

// A permutation that only the seed decides, on every machine.
std::vector<std::size_t> shuffled(std::size_t count, std::mt19937_64& random) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  return order;
}

using Keys = std::vector<std::int64_t>;  // table * rows + row, ascending

// As many other rows as `keys`, each read about as often as one of them: a neighbour in the list of
// all rows by how often they are read.
class Controls {
 public:
  explicit Controls(const std::vector<std::int64_t>& reads) : place_(reads.size()) {
    order_.resize(reads.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
      return reads[static_cast<std::size_t>(a)] < reads[static_cast<std::size_t>(b)];
    });
    for (std::size_t i = 0; i < order_.size(); ++i) {
      place_[static_cast<std::size_t>(order_[i])] = static_cast<std::int64_t>(i);
    }
  }
  Keys like(const Keys& keys, std::mt19937_64& random) const {
    std::set<std::int64_t> taken(keys.begin(), keys.end()), control;
    for (const std::int64_t key : keys) {
      // Ever farther neighbours, above and below, until one is free.
      std::int64_t reach = 1 + static_cast<std::int64_t>(random() % 10);
      for (;; ++reach) {
        if (reach > 2 * static_cast<std::int64_t>(order_.size())) break;  // all rows are silenced
        const std::int64_t step = random() % 2 == 0 ? reach : -reach;
        const std::int64_t at = place_[static_cast<std::size_t>(key)] + step;
        if (at < 0 || at >= static_cast<std::int64_t>(order_.size())) continue;
        const std::int64_t other = order_[static_cast<std::size_t>(at)];
        if (!taken.insert(other).second) continue;
        control.insert(other);
        break;
      }
    }
    return {control.begin(), control.end()};
  }

 private:
  std::vector<std::int64_t> order_, place_;
};

// What became of one group of questions when something was silenced.
struct Loss {
  std::int64_t asked = 0, lost = 0;
  double log_probability = 0;
};

void add_up(FactGroup& group, const std::vector<Loss>& losses) {
  double sum = 0, squares = 0;
  std::int64_t facts = 0;
  for (const Loss& loss : losses) {
    if (loss.asked == 0) continue;
    const double share = static_cast<double>(loss.lost) / static_cast<double>(loss.asked);
    group.asked += loss.asked;
    group.lost += loss.lost;
    group.log_probability += loss.log_probability;
    sum += share;
    squares += share * share;
    ++facts;
  }
  if (group.asked > 0) group.log_probability /= static_cast<double>(group.asked);
  if (facts == 0) return;
  const auto n = static_cast<double>(facts);
  group.share_lost = sum / n;
  if (facts > 1) {
    group.share_error =
        std::sqrt(std::max(squares / n - group.share_lost * group.share_lost, 0.0) / (n - 1));
  }
}

}  // namespace

FactStudy study_facts(ProbeModel& model, const FactsOptions& options,
                      const std::function<void(std::int64_t, std::int64_t)>& progress) {
  const Questions questions = write_questions(model, options);
  const auto most =
      static_cast<std::size_t>(std::min(model.config().max_seqlen, model.model().size().tokens));
  for (const FactQuestion& question : questions.tokens) {
    const std::size_t tokens = question.prompt.size() + question.value.size() - 1;
    if (tokens > most) {
      fail_input("{}: a question has {} tokens, the model reads at most {}",
                 model.source().folder.string(), tokens, most);
    }
  }
  std::vector<std::int64_t> reads;
  const std::vector<QuestionRows> rows = read_question_rows(model, questions.tokens, reads);
  const std::vector<FactAnswer> before = ask(model, questions.tokens);

  FactStudy study;
  std::vector<std::size_t> answered;  // facts of which the question is answered
  std::unordered_map<std::int64_t, std::int64_t> readers;  // of a row, among their answers
  for (std::size_t f = 0; f < questions.facts.size(); ++f) {
    const std::size_t question = questions.facts[f].paraphrases.front();
    if (!before[question].right) continue;
    answered.push_back(f);
    for (const std::int64_t key : rows[question].answer) ++readers[key];
  }
  study.questions = static_cast<std::int64_t>(questions.facts.size());
  study.answered = static_cast<std::int64_t>(answered.size());
  if (answered.size() < 2) {
    fail_input(
        "{}: the model answers {} of {} questions about these people: train it on what `memengine "
        "synth --people {} --passages {} --seed {}` writes",
        model.source().folder.string(), study.answered, study.questions, options.people,
        options.passages, options.seed);
  }

  std::mt19937_64 random(options.seed);
  const Controls controls(reads);
  const double all_reads =
      static_cast<double>(std::accumulate(reads.begin(), reads.end(), std::int64_t{0}));
  const std::vector<std::string> names = {"answer",           "answer control", "specific",
                                          "specific control", "name",           "name control"};
  for (const std::string& name : names) study.arms.push_back({name, 0, 0, {}, {}, {}});
  std::vector<std::array<std::vector<Loss>, 3>> losses(names.size());
  Silencer silencer(model);

  std::vector<std::size_t> order = shuffled(answered.size(), random);
  order.resize(std::min(order.size(), static_cast<std::size_t>(options.facts)));
  study.facts = static_cast<std::int64_t>(order.size());
  for (const std::size_t chosen : order) {
    const Fact& fact = questions.facts[answered[chosen]];
    // The questions to ask again, by group: all that the whole model answers.
    std::array<std::vector<std::size_t>, 3> groups;
    for (const std::size_t question : fact.paraphrases) {
      if (before[question].right) groups[0].push_back(question);
    }
    for (const std::size_t other : answered) {
      if (questions.facts[other].person == fact.person && other != answered[chosen]) {
        groups[1].push_back(questions.facts[other].paraphrases.front());
      }
    }
    for (const std::size_t draw : shuffled(answered.size(), random)) {
      if (groups[2].size() == static_cast<std::size_t>(options.others)) break;
      const Fact& other = questions.facts[answered[draw]];
      if (other.person != fact.person) groups[2].push_back(other.paraphrases.front());
    }

    std::unordered_map<std::int64_t, std::size_t> shared;
    for (const std::size_t question : groups[0]) {
      for (const std::int64_t key : rows[question].answer) ++shared[key];
    }
    Keys answer, specific;
    for (const auto& [key, count] : shared) {
      if (static_cast<double>(count) < options.share * static_cast<double>(groups[0].size())) {
        continue;
      }
      answer.push_back(key);
      const auto found = readers.find(key);
      const double common = found == readers.end() ? 0 : static_cast<double>(found->second - 1);
      if (common <= options.common * static_cast<double>(answered.size())) specific.push_back(key);
    }
    std::sort(answer.begin(), answer.end());
    std::sort(specific.begin(), specific.end());
    const Keys& name = rows[fact.paraphrases.front()].name;
    const Keys arms[] = {answer,   controls.like(answer, random),
                         specific, controls.like(specific, random),
                         name,     controls.like(name, random)};

    std::vector<FactQuestion> asked;
    for (const auto& group : groups) {
      for (const std::size_t question : group) asked.push_back(questions.tokens[question]);
    }
    for (std::size_t arm = 0; arm < names.size(); ++arm) {
      std::vector<std::vector<std::int64_t>> of_tables(
          model.shares_table() ? 1 : model.layers().size());
      for (const std::int64_t key : arms[arm]) {
        of_tables[static_cast<std::size_t>(key / model.rows())].push_back(key % model.rows());
        study.arms[arm].share_of_reads +=
            static_cast<double>(reads[static_cast<std::size_t>(key)]) / all_reads /
            static_cast<double>(order.size());
      }
      study.arms[arm].rows +=
          static_cast<double>(arms[arm].size()) / static_cast<double>(order.size());
      silencer.rows(of_tables);
      const std::vector<FactAnswer> after = ask(model, asked);
      std::size_t at = 0;
      for (std::size_t group = 0; group < groups.size(); ++group) {
        Loss loss;
        for (const std::size_t question : groups[group]) {
          loss.asked += 1;
          loss.lost += after[at].right ? 0 : 1;
          loss.log_probability += after[at].log_probability - before[question].log_probability;
          ++at;
        }
        losses[arm][group].push_back(loss);
      }
    }
    silencer.clear();
    if (progress) progress(static_cast<std::int64_t>(losses[0][0].size()), study.facts);
  }
  for (std::size_t arm = 0; arm < names.size(); ++arm) {
    add_up(study.arms[arm].own, losses[arm][0]);
    add_up(study.arms[arm].person, losses[arm][1]);
    add_up(study.arms[arm].others, losses[arm][2]);
  }
  // Nothing silenced: every answer is what it was.
  const std::vector<FactAnswer> again = ask(model, questions.tokens);
  for (std::size_t i = 0; i < again.size(); ++i) {
    study.answers_changed += again[i].log_probability != before[i].log_probability ? 1 : 0;
  }
  return study;
}

}  // namespace memengine
