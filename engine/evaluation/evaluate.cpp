// Running evaluation tasks: prompts, requests, the model, scores.
#include "engine/evaluation/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <iterator>
#include <map>

#include "engine/evaluation/corpus/corpus_loss.h"
#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/scoring.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

std::size_t document_count(std::size_t all, double limit) {
  if (limit < 0 || std::isnan(limit)) fail_input("limit must not be negative");
  if (limit == 0 || limit >= static_cast<double>(all)) return all;
  if (limit >= 1) return static_cast<std::size_t>(limit);
  return static_cast<std::size_t>(std::ceil(static_cast<double>(all) * limit));
}

void check_count(std::size_t results, std::size_t requests) {
  if (results != requests) {
    fail_internal("the model answered {} of {} requests", results, requests);
  }
}

// Calls body(i) for all i < count, from many threads, and then throws what the first failing i in
// order threw.
template <typename Body>
void for_each_in_parallel(std::size_t count, const Body& body) {
  std::exception_ptr failure;
  std::size_t failed = count;
#pragma omp parallel for schedule(dynamic, 8)
  for (std::size_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(evaluation_failure)
      if (i < failed) failed = i, failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// Adds the time of its life to `seconds`.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What a task asks of the model, all tokens: of its two lists, that of the task's kind.
struct TaskRequests {
  std::vector<LoglikelihoodRequest> choices;  // all choices of all samples, in order
  std::vector<GenerationRequest> prompts;     // one a sample
  std::unique_ptr<TokenWindows> windows;
  std::size_t window_count = 0;  // asked for
};

// One sample's choices; neighbours with the same context are encoded together.
std::vector<LoglikelihoodRequest> encode_sample(const EncodeText& encode, const Task& task,
                                                const EvalSample& sample, int max_length,
                                                const std::string& key_prefix) {
  const Document& document = task.documents[sample.document];
  std::vector<std::string> continuations;
  for (const std::string& choice : document.choices) {
    const bool as_it_is = task.kind == TaskDefinition::Kind::continuation;
    continuations.push_back(as_it_is ? choice : task.target_delimiter + choice);
  }
  if (sample.contexts.size() == 1) {
    return encode_pairs(encode, sample.contexts[0], continuations, max_length, document.where,
                        key_prefix);
  }
  std::vector<LoglikelihoodRequest> requests;
  for (std::size_t i = 0; i < continuations.size(); ++i) {
    auto pair = encode_pairs(encode, sample.contexts[i], {continuations[i]}, max_length,
                             document.where, key_prefix);
    requests.push_back(std::move(pair.front()));
  }
  return requests;
}

std::vector<LoglikelihoodRequest> encode_choices(const EncodeText& encode,
                                                 const EvalTaskResult& result, int max_length,
                                                 const std::string& key_prefix) {
  std::vector<std::vector<LoglikelihoodRequest>> encoded(result.samples.size());
  for_each_in_parallel(encoded.size(), [&](std::size_t i) {
    encoded[i] = encode_sample(encode, result.task, result.samples[i], max_length, key_prefix);
  });
  std::vector<LoglikelihoodRequest> requests;
  for (auto& pairs : encoded) std::move(pairs.begin(), pairs.end(), std::back_inserter(requests));
  return requests;
}

// Prompts with room for the longest accepted answer.
std::vector<GenerationRequest> encode_exact(const EncodeText& encode, const EvalTaskResult& result,
                                            int max_length) {
  constexpr std::size_t spare_tokens = 4;
  const Task& task = result.task;
  std::vector<GenerationRequest> requests(result.samples.size());
  std::vector<std::size_t> lengths(requests.size());  // of the answers, stop string included
  for_each_in_parallel(requests.size(), [&](std::size_t i) {
    const EvalSample& sample = result.samples[i];
    const Document& document = task.documents[sample.document];
    const std::string prompt = sample.contexts[0] + task.target_delimiter;
    requests[i].prompt = encode(prompt);
    requests[i].until = task.until;
    if (requests[i].prompt.empty()) fail_input("{}: the prompt has no tokens", document.where);
    for (const std::string& answer : document.answers) {
      const std::size_t whole = encode(prompt + answer + task.until.front()).size();
      lengths[i] = std::max(lengths[i], whole - std::min(whole, requests[i].prompt.size()));
    }
  });
  const std::size_t longest =
      lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].max_gen_tokens = static_cast<int>(longest + spare_tokens);
    const std::size_t needed = requests[i].prompt.size() + longest + spare_tokens;
    if (needed > static_cast<std::size_t>(max_length)) {
      fail_input("{}: question and answer are {} tokens, but the model reads only {}",
                 task.documents[result.samples[i].document].where, needed, max_length);
    }
  }
  return requests;
}

std::vector<GenerationRequest> encode_prompts(const EncodeText& encode,
                                              const EvalTaskResult& result, int max_length,
                                              const std::string& key_prefix) {
  const Task& task = result.task;
  if (task.exact_answers) return encode_exact(encode, result, max_length);
  std::vector<GenerationRequest> requests(result.samples.size());
  for_each_in_parallel(requests.size(), [&](std::size_t i) {
    requests[i] = encode_prompt(encode, result.samples[i].contexts[0], task.until,
                                task.max_gen_tokens, max_length, key_prefix);
  });
  return requests;
}

std::unique_ptr<TokenWindows> open_windows(const EvalOptions& options, const std::string& path) {
  if (!options.open_windows) fail_input("task loss: it cannot be asked for here");
  return options.open_windows(path);
}

TaskRequests encode_task(const EncodeText& encode, EvalTaskResult& result, int max_length,
                         const EvalOptions& options, const EvalTaskChoice& choice) {
  TaskRequests requests;
  const std::string& key_prefix = options.key_prefix;
  if (result.task.kind == TaskDefinition::Kind::loss) {
    requests.windows = open_windows(options, choice.path);
    result.available = static_cast<std::size_t>(requests.windows->count());
    requests.window_count = document_count(result.available, choice.limit.value_or(options.limit));
  } else if (result.task.kind == TaskDefinition::Kind::generation)
    requests.prompts = encode_prompts(encode, result, max_length, key_prefix);
  else
    requests.choices = encode_choices(encode, result, max_length, key_prefix);
  return requests;
}

void answer_choices(LanguageModel& model, const std::vector<LoglikelihoodRequest>& requests,
                    EvalTaskResult& result, const EvalProgress& progress) {
  const std::vector<Loglikelihood> answers = model.loglikelihoods(requests, progress);
  check_count(answers.size(), requests.size());
  auto next = answers.begin();
  for (EvalSample& sample : result.samples) {
    const auto end =
        next + static_cast<std::ptrdiff_t>(result.task.documents[sample.document].choices.size());
    sample.loglikelihoods.assign(next, end);
    next = end;
  }
}

void answer_prompts(LanguageModel& model, const std::vector<GenerationRequest>& requests,
                    EvalTaskResult& result, const EvalProgress& progress) {
  const Task& task = result.task;
  const std::vector<std::string> texts = model.generate(requests, progress);
  check_count(texts.size(), requests.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EvalSample& sample = result.samples[i];
    sample.generated = cut_at_stop_strings(texts[i], task.until);
    sample.stopped = std::any_of(
        task.until.begin(), task.until.end(),
        [&](const std::string& stop) { return texts[i].find(stop) != std::string::npos; });
    sample.answer = python_strip(sample.generated);
  }
}

// The first metric of each group's documents, in the order of their first.
void score_groups(EvalTaskResult& result) {
  std::vector<std::string> names;
  std::map<std::string, std::vector<double>> scores;
  for (const EvalSample& sample : result.samples) {
    const std::string& group = result.task.documents[sample.document].group;
    if (group.empty()) continue;
    if (scores.find(group) == scores.end()) names.push_back(group);
    scores[group].push_back(sample.scores.front());
  }
  const TaskMetric& metric = *result.task.metrics.front();
  for (const std::string& name : names) {
    const std::vector<double>& own = scores[name];
    result.metrics.push_back({name, metric.value(own), metric.standard_error(own), own.size(),
                              metric.higher_is_better, true});
  }
}

void score(EvalTaskResult& result) {
  for (const TaskMetric* metric : result.task.metrics) {
    std::vector<double> scores;
    for (EvalSample& sample : result.samples) {
      scores.push_back(metric->score(result.task.documents[sample.document], sample));
      sample.scores.push_back(scores.back());
    }
    result.metrics.push_back({metric->name, metric->value(scores), metric->standard_error(scores),
                              scores.size(), metric->higher_is_better});
  }
  score_groups(result);
}

// One context; or one per choice, where the choices stand inside the question.
std::vector<std::string> contexts_of(const Document& document, const std::string& preamble) {
  if (document.questions.empty()) return {preamble + document.question};
  std::vector<std::string> contexts;
  for (const std::string& question : document.questions) contexts.push_back(preamble + question);
  return contexts;
}

// The tasks with the prompts of the items that will be asked.
std::vector<EvalTaskResult> load_tasks(const EvalOptions& options) {
  std::vector<EvalTaskResult> results;
  results.reserve(options.tasks.size());
  for (const EvalTaskChoice& choice : options.tasks) {
    EvalTaskResult& result = results.emplace_back();
    const TaskDefinition* definition = find_evaluation_task(choice.name);
    if (definition != nullptr && definition->kind == TaskDefinition::Kind::loss) {
      result.task = Task{*definition, {}, {}};
      if (!choice.title.empty()) result.task.name = choice.title;
      continue;  // a loss has neither documents nor examples
    }
    result.task = load_task(choice.name, options.data_root, choice.num_fewshot > 0, choice.path);
    if (!choice.title.empty()) result.task.name = choice.title;
    result.num_fewshot = choice.num_fewshot;
    result.available = result.task.documents.size();
    if (options.max_gen_tokens) result.task.max_gen_tokens = *options.max_gen_tokens;
    const std::vector<std::string> preambles =
        build_preambles(result.task, choice.num_fewshot,
                        document_count(result.available, choice.limit.value_or(options.limit)),
                        options.fewshot_seed);
    result.samples.resize(preambles.size());
    for (std::size_t i = 0; i < preambles.size(); ++i) {
      result.samples[i].document = i;
      result.samples[i].contexts = contexts_of(result.task.documents[i], preambles[i]);
    }
  }
  return results;
}

}  // namespace

std::vector<EvalTaskResult> evaluate(LanguageModel& model, const EncodeText& encode,
                                     const EvalOptions& options, const EvalTaskProgress& progress) {
  std::vector<EvalTaskResult> results = load_tasks(options);
  // Every item of every task is read before the first is scored: what is wrong with one shows at
  // once, not after an hour of another task.
  std::vector<TaskRequests> requests;
  for (std::size_t t = 0; t < results.size(); ++t) {
    const Stopwatch watch(results[t].seconds);
    requests.push_back(
        encode_task(encode, results[t], model.max_length(), options, options.tasks[t]));
  }
  for (std::size_t t = 0; t < results.size(); ++t) {
    EvalTaskResult& result = results[t];
    const Stopwatch watch(result.seconds);
    const EvalProgress task_progress = [&](std::size_t done, std::size_t total) {
      if (progress) progress(result.task.name, done, total);
    };
    if (requests[t].windows) {
      measure_loss(model, *requests[t].windows, requests[t].window_count, result, task_progress);
      continue;
    }
    if (result.task.kind == TaskDefinition::Kind::generation)
      answer_prompts(model, requests[t].prompts, result, task_progress);
    else
      answer_choices(model, requests[t].choices, result, task_progress);
    score(result);
  }
  return results;
}

void check_requests(const EncodeText& encode, const EvalOptions& options, int max_length) {
  std::vector<EvalTaskResult> results = load_tasks(options);
  for (std::size_t t = 0; t < results.size(); ++t) {
    encode_task(encode, results[t], max_length, options, options.tasks[t]);
  }
}

}  // namespace memengine
