// Evaluation results in words and files.
#include "engine/eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/eval/python_text.h"
#include "engine/runtime/error.h"
#include "io/file.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

std::string duration(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long>(std::lround(seconds));
  return fmt::format("{}:{:02} min", whole / 60, whole % 60);
}

bool is_multiple_choice(const Task& task) {
  return task.kind == Task::Kind::multiple_choice;
}

Json generation_arguments(const Task& task) {
  return {{"until", task.until},
          {"do_sample", false},
          {"temperature", 0.0},
          {"max_gen_toks", task.max_gen_tokens}};
}

Json task_config(const EvalTaskResult& result) {
  const Task& task = result.task;
  Json metrics = Json::array();
  for (const std::string& metric : task.metrics) {
    metrics.push_back({{"metric", metric}, {"aggregation", "mean"}, {"higher_is_better", true}});
  }
  Json config = {{"task", task.name},
                 {"validation_split", "validation"},
                 {"fewshot_split", std::string(task.shot_split())},
                 {"doc_to_text", task.question_template},
                 {"description", task.description},
                 {"target_delimiter", task.target_delimiter},
                 {"fewshot_delimiter", task.fewshot_delimiter},
                 {"num_fewshot", result.num_fewshot},
                 {"metric_list", metrics},
                 {"output_type", is_multiple_choice(task) ? "multiple_choice" : "generate_until"},
                 {"repeats", 1},
                 {"metadata", {{"version", task.version}}}};
  if (!is_multiple_choice(task)) config["generation_kwargs"] = generation_arguments(task);
  return config;
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
  std::string target;
  if (is_multiple_choice(task)) {
    for (std::size_t i = 0; i < document.choices.size(); ++i) {
      arguments[fmt::format("gen_args_{}", i)] = {
          {"arg_0", sample.context}, {"arg_1", task.target_delimiter + document.choices[i]}};
      responses.push_back(Json::array({response(sample.loglikelihoods[i])}));
      filtered.push_back(response(sample.loglikelihoods[i]));
    }
    target = std::to_string(document.gold);
  } else {
    arguments["gen_args_0"] = {{"arg_0", sample.context}, {"arg_1", generation_arguments(task)}};
    responses.push_back(Json::array({sample.generated}));
    filtered.push_back(sample.answer);
    for (const std::string& answer : document.answers) {
      target += (target.empty() ? "[" : ", ") + python_repr(answer);
    }
    target += "]";
  }
  Json json = {{"doc_id", sample.document}, {"doc", Json::parse(document.record)},
               {"target", target},          {"arguments", arguments},
               {"resps", responses},        {"filtered_resps", filtered},
               {"filter", task.filter},     {"metrics", task.metrics}};
  for (std::size_t m = 0; m < task.metrics.size(); ++m) json[task.metrics[m]] = sample.scores[m];
  return json;
}

}  // namespace

std::string eval_table(const std::vector<EvalTaskResult>& results) {
  std::string table = fmt::format("{:<10} {:<12} {:>7}   {:<7} {:<14} {:>6}  {}\n", "task",
                                  "metric", "value", "stderr", "shots", "items", "time");
  for (const EvalTaskResult& result : results) {
    std::string shots = std::to_string(result.num_fewshot);
    if (result.num_fewshot > 0) shots += fmt::format(" ({})", result.task.shot_split());
    for (std::size_t m = 0; m < result.metrics.size(); ++m) {
      const EvalMetric& metric = result.metrics[m];
      const std::string error =
          metric.standard_error ? fmt::format("{:.4f}", *metric.standard_error) : "N/A";
      table += fmt::format("{:<10} {:<12} {:>7.4f} ± {:<7} {:<14} {:>6}  {}\n",
                           m == 0 ? result.task.name : "", metric.name, metric.value, error, shots,
                           result.samples.size(), m == 0 ? duration(result.seconds) : "");
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
      json["higher_is_better"][name][metric.name] = true;
    }
    json["results"][name] = scores;
    json["configs"][name] = task_config(result);
    json["versions"][name] = result.task.version;
    json["n-shot"][name] = result.num_fewshot;
    json["n-samples"][name] = {{"original", result.task.documents.size()},
                               {"effective", result.samples.size()}};
  }
  json["config"] = {{"model", "memengine"},
                    {"model_args", run.model_arguments},
                    {"model_dtype", run.dtype},
                    {"device", run.device},
                    {"limit", run.limit == 0 ? Json() : Json(run.limit)},
                    {"fewshot_seed", run.fewshot_seed}};
  json["date"] = run.start_time;
  json["max_length"] = run.max_length;
  json["model_source"] = "memengine";
  json["model_name"] = run.model_name;
  json["memengine_version"] = MEMENGINE_VERSION;
  json["total_evaluation_time_seconds"] = python_repr(run.total_seconds);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
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
