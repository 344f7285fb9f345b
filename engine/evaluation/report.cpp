// Evaluation results in words and files.
#include "engine/evaluation/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/sha256.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

std::string duration(double seconds) {
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long>(std::lround(seconds));
  return fmt::format("{}:{:02} min", whole / 60, whole % 60);
}

// As the harness makes a name safe for files.
std::string sanitized(std::string_view name) {
  std::string safe;
  bool replaced = false;  // a run of unsafe characters becomes one "__"
  for (const char c : name) {
    const bool unsafe = std::string_view("\"<>:/|\\?*[]").find(c) != std::string_view::npos;
    if (!unsafe) safe += c;
    if (unsafe && !replaced) safe += "__";
    replaced = unsafe;
  }
  return safe;
}

// The harness's name for the kind of a task.
const char* output_type(const Task& task) {
  switch (task.kind) {
    case TaskDefinition::Kind::multiple_choice:
      return "multiple_choice";
    case TaskDefinition::Kind::continuation:
      return "loglikelihood";
    case TaskDefinition::Kind::generation:
      return "generate_until";
    case TaskDefinition::Kind::loss:
      return "loglikelihood_rolling";
  }
  fail_internal("a task of an unknown kind");
}

bool generates(const Task& task) {
  return task.kind == TaskDefinition::Kind::generation;
}

// As the harness's task says it: its own default length is not among them.
Json generation_arguments(const Task& task) {
  Json arguments = {{"until", task.until}, {"do_sample", false}, {"temperature", 0.0}};
  if (task.max_gen_tokens != Task().max_gen_tokens) {
    arguments["max_gen_toks"] = task.max_gen_tokens;
  }
  return arguments;
}

// Hashes by which two runs can be seen to have asked the same.
struct SampleHashes {
  std::string document, prompt, target;
};
SampleHashes sample_hashes(const Task& task, const EvalSample& sample) {
  const Document& document = task.documents[sample.document];
  return {sha256(Json::parse(document.record).dump(2)), sha256(sample.contexts[0]),
          sha256(document.target)};
}

Json task_config(const EvalTaskResult& result) {
  const Task& task = result.task;
  Json metrics = Json::array();
  for (const TaskMetric* metric : task.metrics) {
    Json entry = {{"metric", metric->name},
                  {"aggregation", metric->aggregation},
                  {"higher_is_better", metric->higher_is_better}};
    if (std::string_view(metric->name) == "exact_match") {  // what exact_match() does
      entry["ignore_case"] = true;
      entry["ignore_punctuation"] = true;
      entry["regexes_to_ignore"] = {"\\b(?:The |the |An |A |The |a |an )"};
    }
    metrics.push_back(entry);
  }
  Json config = {{"task", task.name},
                 {task.asked.name + "_split", task.asked.name},
                 {"fewshot_split", std::string(task.shot_split())},
                 {"doc_to_text", task.question_template},
                 {"description", task.description},
                 {"target_delimiter", task.target_delimiter},
                 {"fewshot_delimiter", task.fewshot_delimiter},
                 {"num_fewshot", result.num_fewshot},
                 {"metric_list", metrics},
                 {"output_type", output_type(task)},
                 {"repeats", 1},
                 {"metadata", {{"version", task.version}}}};
  if (generates(task)) config["generation_kwargs"] = generation_arguments(task);
  return config;
}

// A special token as the harness writes it: its text, and its id as text.
Json token_json(const SpecialToken& token) {
  if (token.id < 0) return {nullptr, "None"};
  return {token.text, std::to_string(token.id)};
}

// The harness writes numbers in responses as Python prints them, to keep the lists of one type.
Json response(const Loglikelihood& answer) {
  return Json::array({python_repr(answer.sum), answer.is_greedy ? "True" : "False"});
}

Json sample_json(const EvalTaskResult& result, const EvalSample& sample) {
  const Task& task = result.task;
  const Document& document = task.documents[sample.document];
  Json arguments = Json::object();
  Json responses = Json::array();
  Json filtered = Json::array();
  if (generates(task)) {
    arguments["gen_args_0"] = {{"arg_0", sample.contexts[0]},
                               {"arg_1", generation_arguments(task)}};
    responses.push_back(Json::array({sample.generated}));
    filtered.push_back(sample.answer);
  }
  const bool as_it_is = task.kind == TaskDefinition::Kind::continuation;
  for (std::size_t i = 0; i < document.choices.size(); ++i) {
    arguments[fmt::format("gen_args_{}", i)] = {
        {"arg_0", sample.contexts[std::min(i, sample.contexts.size() - 1)]},
        {"arg_1", (as_it_is ? "" : task.target_delimiter) + document.choices[i]}};
    responses.push_back(Json::array({response(sample.loglikelihoods[i])}));
    filtered.push_back(response(sample.loglikelihoods[i]));
  }
  Json metrics = Json::array();
  for (const TaskMetric* metric : task.metrics) metrics.push_back(metric->name);
  const SampleHashes hashes = sample_hashes(task, sample);
  Json json = {{"doc_id", sample.document},   {"doc", Json::parse(document.record)},
               {"target", document.target},   {"arguments", arguments},
               {"resps", responses},          {"filtered_resps", filtered},
               {"filter", task.filter},       {"metrics", metrics},
               {"doc_hash", hashes.document}, {"prompt_hash", hashes.prompt},
               {"target_hash", hashes.target}};
  for (std::size_t m = 0; m < task.metrics.size(); ++m) {
    json[task.metrics[m]->name] = sample.scores[m];
  }
  return json;
}

}  // namespace

std::string eval_table(const std::vector<EvalTaskResult>& results) {
  std::size_t width = 10;
  for (const EvalTaskResult& result : results) width = std::max(width, result.task.name.size());
  std::string table = fmt::format("{:<{}} {:<12} {:>7}   {:<7} {:<14} {:>6}  {}\n", "task", width,
                                  "metric", "value", "stderr", "shots", "items", "time");
  for (const EvalTaskResult& result : results) {
    std::string shots = std::to_string(result.num_fewshot);
    if (result.num_fewshot > 0) shots += fmt::format(" ({})", result.task.shot_split());
    for (std::size_t m = 0; m < result.metrics.size(); ++m) {
      const EvalMetric& metric = result.metrics[m];
      const std::string error =
          metric.standard_error ? fmt::format("{:.4f}", *metric.standard_error) : "N/A";
      table += fmt::format("{:<{}} {:<12} {:>7.4f} ± {:<7} {:<14} {:>6}{}\n",
                           m == 0 ? result.task.name : "", width, metric.name, metric.value, error,
                           shots, metric.count, m == 0 ? "  " + duration(result.seconds) : "");
    }
  }
  return table;
}

std::string eval_results_json(const std::vector<EvalTaskResult>& results,
                              const EvalRunDescription& run) {
  Json json;
  for (const char* key : {"results", "group_subtasks", "configs", "versions", "n-shot",
                          "higher_is_better", "n-samples"}) {
    json[key] = Json::object();
  }
  for (const EvalTaskResult& result : results) {
    const std::string& name = result.task.name;
    Json scores = {{"name", name}, {"alias", name}, {"sample_len", result.samples.size()}};
    for (const EvalMetric& metric : result.metrics) {
      scores[metric.name + "," + result.task.filter] = metric.value;
      scores[metric.name + "_stderr," + result.task.filter] =
          metric.standard_error ? Json(*metric.standard_error) : Json("N/A");
      json["higher_is_better"][name][metric.name] = metric.higher_is_better;
    }
    json["results"][name] = scores;
    json["configs"][name] = task_config(result);
    json["versions"][name] = result.task.version;
    json["n-shot"][name] = result.num_fewshot;
    json["n-samples"][name] = {{"original", result.available},
                               {"effective", result.samples.size()}};
  }
  json["config"] = {{"model", "memengine"},
                    {"model_args", run.model_arguments},
                    {"model_num_parameters", run.parameters},
                    {"model_dtype", run.dtype},
                    {"device", run.device},
                    {"model_revision", "main"},
                    {"model_sha", ""},
                    {"batch_size", nullptr},
                    {"batch_sizes", Json::array()},
                    {"use_cache", nullptr},
                    {"bootstrap_iters", nullptr},
                    {"random_seed", nullptr},
                    {"numpy_seed", nullptr},
                    {"torch_seed", nullptr},
                    {"limit", run.limit == 0 ? Json() : Json(run.limit)},
                    {"gen_kwargs", nullptr},
                    {"fewshot_seed", run.fewshot_seed}};
  json["git_hash"] = nullptr;
  json["date"] = run.start_time;
  // Its keys about Python's world are there, so that no reader of its files misses one.
  json["pretty_env_info"] = fmt::format("memengine {}", MEMENGINE_VERSION);
  json["transformers_version"] = "N/A";
  // Whose schema and task rules these are.
  json["lm_eval_version"] = "0.4.13";
  json["upper_git_hash"] = nullptr;
  json["tokenizer_pad_token"] = {nullptr, "None"};
  json["tokenizer_eos_token"] = token_json(run.eos);
  json["tokenizer_bos_token"] = token_json(run.bos);
  json["eot_token_id"] = run.eos.id < 0 ? Json() : Json(run.eos.id);
  json["max_length"] = run.max_length;
  json["task_hashes"] = Json::object();
  for (const EvalTaskResult& result : results) {
    json["task_hashes"][result.task.name] = task_hash(result);
  }
  json["model_source"] = "memengine";
  json["model_name"] = run.model_name;
  json["model_name_sanitized"] = sanitized(run.model_name);
  json["system_instruction"] = nullptr;
  json["system_instruction_sha"] = nullptr;
  json["fewshot_as_multiturn"] = false;
  json["chat_template"] = nullptr;
  json["chat_template_sha"] = nullptr;
  json["memengine_version"] = MEMENGINE_VERSION;
  json["total_evaluation_time_seconds"] = python_repr(run.total_seconds);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string task_hash(const EvalTaskResult& result) {
  std::string all;
  for (const EvalSample& sample : result.samples) {
    const SampleHashes hashes = sample_hashes(result.task, sample);
    all += hashes.document + hashes.prompt + hashes.target;
  }
  return sha256(all);
}

std::string eval_samples_jsonl(const EvalTaskResult& result) {
  std::string lines;
  for (const EvalSample& sample : result.samples) {
    lines += sample_json(result, sample).dump(-1, ' ', false, Json::error_handler_t::replace);
    lines += '\n';
  }
  return lines;
}

void write_eval_files(const std::filesystem::path& folder,
                      const std::vector<EvalTaskResult>& results, const EvalRunDescription& run,
                      bool with_samples) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail_input("{}: cannot make the folder: {}", folder.string(), error.message());
  write_file_atomically(FileSystem::real(), folder / "results.json",
                        eval_results_json(results, run));
  if (!with_samples) return;
  for (const EvalTaskResult& result : results) {
    write_file_atomically(FileSystem::real(),
                          folder / fmt::format("samples_{}.jsonl", result.task.name),
                          eval_samples_jsonl(result));
  }
}

}  // namespace memengine
