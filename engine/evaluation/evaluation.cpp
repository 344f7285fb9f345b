// Sizes the model for the tasks, runs them, and records what came out.
#include "engine/evaluation/evaluation.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>

#include "engine/evaluation/dealt_model.h"
#include "engine/evaluation/eval_model.h"
#include "engine/inference/inference_model.h"
#include "io/checkpoints/checkpoint.h"
#include "io/files/file.h"
#include "io/files/metrics.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/together.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Texts that decode at once: enough to fill a pass, few enough for their caches.
constexpr std::string_view evaluation_kind = "evaluation";

constexpr std::int64_t most_sequences = 256;

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

EvalOptions eval_options(const EvalConfig& config, const WindowSettings& windows) {
  EvalOptions options;
  if (config.data_dir) options.data_root = *config.data_dir;
  options.key_prefix = config.key_prefix;
  options.limit = config.harness.limit.value_or(0);
  options.fewshot_seed = static_cast<std::uint64_t>(config.harness.fewshot_random_seed);
  // The harness's tasks stop after 256 tokens of their own; the config can only stop earlier.
  options.max_gen_tokens =
      static_cast<int>(std::min<std::int64_t>(config.generator.max_gen_len, 256));
  options.open_windows = [windows](const std::string& path) {
    return open_token_windows(windows, path);
  };
  for (const EvalTask& task : asked_tasks(config)) {
    const std::int64_t shots = task.num_fewshot.value_or(config.harness.num_fewshot.value_or(0));
    options.tasks.push_back(
        {task.task, static_cast<int>(shots), task.limit, task.path.value_or(""), task.title()});
  }
  return options;
}

InferenceSize inference_size(const EvalConfig& config, const ModelConfig& model,
                             std::int64_t max_length, Device device) {
  InferenceSize size;
  size.bf16 = config.generator.dtype == EvalDtype::bf16;
  size.fp64 = config.generator.dtype == EvalDtype::fp32 && device == Device::cpu;
  size.sums_in_double = config.generator.dtype == EvalDtype::fp32 && device == Device::cuda;
  size.tokens = std::max(config.generator.max_tokens, max_length);
  size.ask_for_rows = [max_length, prefix = config.key_prefix,
                       now = config.generator.max_tokens](std::int64_t rows) {
    std::string text = fmt::format("{}generator.max_tokens={} (now {})", prefix, rows, now);
    if (rows < max_length) {
      text += fmt::format(" and {}max_length={} (now {})", prefix, rows, max_length);
    }
    return text;
  };
  const std::vector<EvalTask> tasks = asked_tasks(config);
  const bool generates = std::any_of(tasks.begin(), tasks.end(), [](const EvalTask& task) {
    return find_evaluation_task(task.task)->kind == TaskDefinition::Kind::generation;
  });
  if (generates) {
    size.cache_length = max_length;
    size.cache_sequences =
        fitting_sequences(model, size, device, std::min(most_sequences, size.tokens));
  }
  return size;
}

std::int64_t parameter_count(const Transformer& transformer) {
  std::int64_t count = transformer.parameters().parameter_count();
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      count += table.rows().rows * table.rows().v_dim();
    }
  }
  return count;
}

std::int64_t longest_text(const EvalConfig& config, const ModelConfig& model) {
  std::int64_t length = config.max_length.value_or(model.max_seqlen);
  if (config.generator.max_prompt_len) {
    length = std::min(length, *config.generator.max_prompt_len + config.generator.max_gen_len);
  }
  return length;
}

WindowSettings window_settings(const EvalConfig& config, const Tokenizer& tokenizer,
                               const ModelConfig& model, const DataConfig* data) {
  WindowSettings windows;
  windows.tokenizer = &tokenizer;
  windows.model = model;
  windows.length = longest_text(config, model);
  windows.key = config.key_prefix + "harness.tasks: path of loss";
  windows.run = data;
  if (data != nullptr) windows.add_bos = data->add_bos, windows.add_eos = data->add_eos;
  return windows;
}

// The files of write_eval_files() that lie in a folder.
std::vector<fs::path> result_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name == "results.json" || (name.starts_with("samples_") && name.ends_with(".jsonl"))) {
      files.push_back(entry.path());
    }
  }
  return files;
}

// <folder>/earlier/<n>, the first that is not there.
fs::path earlier_folder(const fs::path& folder) {
  std::error_code error;
  for (int n = 1;; ++n) {
    const fs::path free = folder / "earlier" / std::to_string(n);
    if (!fs::exists(free, error)) return free;
  }
}

SpecialToken named_token(const Tokenizer& tokenizer, std::int32_t id) {
  for (const SpecialToken& token : tokenizer.special_tokens()) {
    if (token.id == id) return token;
  }
  return {"", -1};
}

}  // namespace

std::vector<EvalTask> asked_tasks(const EvalConfig& config) {
  if (config.harness.tasks.empty()) {
    fail_input("{}harness.tasks is empty: name tasks to evaluate, for instance [{}]",
               config.key_prefix, evaluation_tasks().front().name);
  }
  std::vector<EvalTask> tasks;
  for (const EvalTask& asked : config.harness.tasks) {
    const std::vector<std::string> names = evaluation_task_names(asked.task);
    if (names.size() > 1 && (asked.path || asked.name)) {
      fail_input("{}harness.tasks: {} is {} tasks, which cannot share a path or a name",
                 config.key_prefix, asked.task, names.size());
    }
    for (const std::string& name : names) {
      EvalTask task = asked;
      task.task = name;
      const bool twice = std::any_of(tasks.begin(), tasks.end(), [&](const EvalTask& other) {
        return other.title() == task.title();
      });
      if (twice) {
        fail_input("{}harness.tasks has {} twice (also as one of {}); name it once",
                   config.key_prefix, task.title(), asked.task);
      }
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

bool needs_data_dir(const EvalTask& task) {
  const TaskDefinition* definition = find_evaluation_task(task.task);
  return !task.path && definition != nullptr && definition->kind != TaskDefinition::Kind::loss;
}

void check_evaluation(const EvalConfig& config) {
  for (const EvalTask& task : asked_tasks(config)) {
    if (config.data_dir || !needs_data_dir(task)) continue;
    fail_input(
        "{0}data_dir is missing; give the folder with the evaluation sets, for instance "
        "{0}data_dir=data/eval",
        config.key_prefix);
  }
}

void check_items(const EvalConfig& config, const Tokenizer& tokenizer, const DataConfig& data,
                 const ModelConfig& model) {
  const SpecialTokenEncoder encoder(tokenizer, SpaceInFront::every_part, data.add_bos);
  const EncodeText encode = [&](std::string_view text) { return encoder.encode(text); };
  WindowSettings windows = window_settings(config, tokenizer, model, &data);
  windows.model_name = "this run";
  const auto longest = static_cast<int>(longest_text(config, model));
  check_requests(encode, eval_options(config, windows), longest);
}

MemoryPlan evaluation_plan(const EvalConfig& config, const ModelConfig& model, Device device) {
  const std::int64_t max_length = longest_text(config, model);
  return InferenceModel::plan(model, inference_size(config, model, max_length, device), device);
}

Evaluation run_evaluation(const EvalConfig& config, const ModelSource& source, Device device,
                          const EvalTaskProgress& progress, Communicator* all_ranks) {
  Communicator alone;
  Communicator& ranks = all_ranks != nullptr ? *all_ranks : alone;
  const double start = seconds_since_1970();
  check_evaluation(config);
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(source);
  const std::int64_t max_length = longest_text(config, source.model);
  const InferenceSize size = inference_size(config, source.model, max_length, device);
  Runtime runtime(device);
  std::optional<InferenceModel> held;
  do_together(ranks, [&] {
    held.emplace(source.model, size, runtime);
    held->load(source);
  });
  InferenceModel& model = *held;
  // The harness stops at the model's end tokens, and at the text of its tokenizer's EOS.
  std::vector<std::int32_t> ends = end_tokens(source, *tokenizer);
  ends.push_back(tokenizer->eos_id());
  EvalModel language_model(model, *tokenizer, max_length, ends);
  SamplingOptions sampling;
  sampling.temperature = config.generator.temperature;
  sampling.top_p = config.generator.top_p;
  sampling.top_k = config.generator.top_k;
  language_model.set_sampling(sampling);
  const SpecialTokenEncoder encoder(*tokenizer, source.space_in_front, source.add_bos);
  const EncodeText encode = [&](std::string_view text) { return encoder.encode(text); };

  WindowSettings windows =
      window_settings(config, *tokenizer, source.model, source.run ? &source.run->data : nullptr);
  windows.model_name = source.folder.string();
  if (!source.run) windows.add_bos = source.add_bos;
  DealtModel dealt(language_model, ranks);
  LanguageModel& asked = ranks.size() > 1 ? static_cast<LanguageModel&>(dealt) : language_model;
  Evaluation evaluation;
  evaluation.results = evaluate(asked, encode, eval_options(config, windows), progress);
  EvalRunDescription& run = evaluation.run;
  run.model_name = source.folder.string();
  run.model_arguments = fmt::format("ckpt_dir={}", source.folder.string());
  run.bos = named_token(*tokenizer, tokenizer->bos_id());
  run.eos = named_token(*tokenizer, tokenizer->eos_id());
  run.device = device == Device::cuda ? "cuda" : "cpu";
  run.dtype = size.fp64 ? "fp64" : size.bf16 && device == Device::cuda ? "bf16" : "fp32";
  run.max_length = static_cast<int>(max_length);
  run.parameters = parameter_count(model.transformer());
  run.limit = config.harness.limit.value_or(0);
  run.fewshot_seed = static_cast<std::uint64_t>(config.harness.fewshot_random_seed);
  run.start_time = start;
  run.total_seconds = seconds_since_1970() - start;
  return evaluation;
}

// Versions without a mark left results.json alone.
bool is_older_evaluation(const fs::path& folder) {
  try {
    const auto results =
        nlohmann::json::parse(read_text_file(folder / "results.json", 64u << 20), nullptr, false);
    return results.is_object() && results.contains("config") && results["config"].is_object() &&
           results["config"].value("model", nlohmann::json()) == "memengine";
  } catch (const Error&) {
    return false;
  }
}

void append_eval_metrics(const fs::path& folder, const Evaluation& evaluation, std::int64_t step) {
  std::deque<std::string> names;  // keys are views
  std::vector<Metric> metrics = {{"global_step", step},
                                 {"created_at", evaluation.run.start_time},
                                 {"seconds", evaluation.run.total_seconds}};
  for (const EvalTaskResult& result : evaluation.results) {
    for (const EvalMetric& metric : result.metrics) {
      names.push_back(result.task.name + "/" + metric.name);
      metrics.emplace_back(names.back(), metric.value);
      if (!metric.standard_error) continue;
      names.push_back(names.back() + "_stderr");
      metrics.emplace_back(names.back(), *metric.standard_error);
    }
  }
  const auto append = [&] {
    MetricsFile(folder / "metrics.eval.jsonl", std::max<std::int64_t>(step - 1, 0)).write(metrics);
  };
  // A run that is trained may hold the folder, or another evaluation: any mark of ours will do.
  if (read_folder_mark(folder)) return append();
  const OutputFolder taken(folder, "evaluation log");
  append();
}

OutputFolder open_evaluation_folder(const EvalConfig& config) {
  if (config.dump_dir.empty()) {
    fail_input("dump_dir is missing; give the folder for results.json, for instance dump_dir=eval");
  }
  return OutputFolder(config.dump_dir, evaluation_kind,
                      [&] { return is_older_evaluation(config.dump_dir); });
}

std::string open_results(const EvalConfig& config) {
  if (config.dump_dir.empty()) {
    fail_input("dump_dir is missing; give the folder for results.json, for instance dump_dir=eval");
  }
  const fs::path folder = config.dump_dir;
  FileSystem& files = FileSystem::real();
  files.make_folder(folder);
  const fs::path trial = folder / ".trial";
  write_file_atomically(files, trial, "");
  files.remove_all(trial);
  if (result_files(folder).empty()) return "";
  return fmt::format("{} has the results of an earlier evaluation: they move to {}",
                     folder.string(), earlier_folder(folder).string());
}

void write_evaluation(const EvalConfig& config, const Evaluation& evaluation, std::int64_t step) {
  open_results(config);
  const std::vector<fs::path> before = result_files(config.dump_dir);
  if (!before.empty()) {
    FileSystem& files = FileSystem::real();
    const fs::path folder = earlier_folder(config.dump_dir);
    files.make_folder(folder);
    for (const fs::path& file : before) files.rename(file, folder / file.filename());
  }
  write_eval_files(config.dump_dir, evaluation.results, evaluation.run, config.harness.log_samples);
  if (config.metric_log_dir) append_eval_metrics(*config.metric_log_dir, evaluation, step);
}

Evaluation evaluate_during_training(const EvalConfig& config, const fs::path& checkpoint,
                                    Device device, const EvalTaskProgress& progress,
                                    Communicator* ranks) {
  return run_evaluation(config, find_model(checkpoint), device, progress, ranks);
}

fs::path training_results(const RunConfig& config, std::int64_t step) {
  return fs::path(config.dump_dir) / "evals" / checkpoint_name(step) / "results.json";
}

void write_training_evaluation(const RunConfig& config, const Evaluation& evaluation,
                               std::int64_t step) {
  if (!config.eval) fail_internal("evaluation during training without an `eval` section");
  const fs::path folder = training_results(config, step).parent_path();
  const OutputFolder taken(folder, evaluation_kind, [&] { return is_older_evaluation(folder); });
  write_eval_files(folder, evaluation.results, evaluation.run, config.eval->harness.log_samples);
  append_eval_metrics(config.eval->metric_log_dir.value_or(config.dump_dir), evaluation, step);
}

}  // namespace memengine
