// The demo's stages, in order.
#include "engine/demo/demo.h"

#include <fmt/format.h>

#include <fstream>

#include "engine/demo/demo_data.h"
#include "engine/evaluation/eval_model.h"
#include "engine/inference/inference_model.h"
#include "engine/model_files/model_source.h"
#include "engine/run/run_files.h"
#include "engine/training/trainer.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/output_folder.h"
#include "io/synthetic/biographies.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Takes from a training what the table shows.
class Observer : public TrainingListener {
 public:
  explicit Observer(DemoModel& model) : model_(model) {}

  void started(const RunConfig& /*config*/, const RunStart& start) override {
    model_.flops_per_token = start.flops_per_token;
    model_.parameters = start.parameters;
    model_.value_parameters = start.value_parameters;
    step_ = std::max<std::int64_t>(start.resumed_step, 0);
  }
  void stepped(const StepReport& report) override {
    const double seconds = report.seconds_per_step * static_cast<double>(report.step - step_);
    model_.train_seconds += seconds;
    tokens_ += report.tokens_per_second * seconds;
    model_.tokens_per_second = tokens_ / model_.train_seconds;
    step_ = report.step;
  }

 private:
  DemoModel& model_;
  std::int64_t step_ = 0;
  double tokens_ = 0;
};

// Everything that the folder's contents were made from.
std::string description(const DemoOptions& options, const RunConfig& config) {
  return fmt::format("people: {}\npassages: {}\nvocabulary: {}\n{}", options.people,
                     options.passages, options.vocabulary, dump_config(config));
}

constexpr const char* finished_mark = "finished\n";

// Versions without a mark left the state file alone.
bool is_older_demo(const fs::path& folder) {
  try {
    const std::string state = read_text_file(folder / "demo.state", 1 << 20);
    return state.starts_with("people: ") || state.starts_with(finished_mark);
  } catch (const Error&) {
    return false;
  }
}

// Keeps what a stopped demo of the same settings left; otherwise empties the folder.
void settle_folder(const DemoOptions& options, const std::string& settings,
                   DemoListener& listener) {
  const fs::path state = options.out / "demo.state";
  const std::string before = is_there(state) ? read_text_file(state, 1 << 20) : "";
  if (before == settings) {
    listener.said("going on where the demo was stopped");
    return;
  }
  for (const char* part : {"data", "dense", "memory"}) {
    FileSystem::real().remove_all(options.out / part);
  }
  write_file_atomically(FileSystem::real(), state, settings);
}

// Trains; false when it was stopped before the end.
bool train(const RunConfig& config, DemoModel& model, DemoListener& listener,
           const std::function<bool()>& stop) {
  RunFiles files;
  Observer observer(model);
  Trainer trainer(config, {&files, &observer, &listener});
  if (trainer.run(stop) < config.steps) return false;
  const ValidationReport validation = trainer.validate();
  model.loss = validation.loss;
  for (const BankUsage& bank : validation.banks) {
    model.rows += bank.rows;
    model.rows_used += bank.unique_rows;
  }
  return true;
}

void question(const RunConfig& config, DemoModel& model, const DemoCorpus& corpus,
              DemoListener& listener) {
  const ModelSource source = find_model(config.dump_dir);
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(source);
  const std::int64_t length = source.model.max_seqlen;
  Runtime runtime(choose_device(config.device));
  InferenceSize size;
  size.bf16 = config.distributed.model_dtype == ModelDtype::bf16;
  size.tokens = std::max<std::int64_t>(512, length);
  size.cache_length = length;
  size.cache_sequences = 64;
  InferenceModel inference(source.model, size, runtime);
  inference.load(source);
  EvalModel language_model(inference, *tokenizer, length);
  const EncodeText encode = [&](std::string_view text) {
    return tokenizer->encode(text, source.add_bos, false);
  };
  model.recall = evaluate_recall(
      language_model, encode, corpus.questions, [&](std::size_t done, std::size_t total) {
        listener.progress(fmt::format("{}: {} of {} questions answered", model.name, done, total));
      });
}

}  // namespace

DemoResult run_demo(const DemoOptions& options, DemoListener& listener,
                    const std::function<bool()>& stop) {
  const RunConfig memory = demo_run_config(options, "memory");
  const RunConfig dense = demo_run_config(options, "dense");
  const std::string settings = description(options, memory);
  // Refuses what it cannot tell before anything is written.
  const BiographyCorpus told(0, options.people, options.passages);
  const OutputFolder folder(options.out, "demo", [&] { return is_older_demo(options.out); });
  settle_folder(options, settings, listener);

  DemoResult result;
  result.stopped = true;
  listener.stage("corpus");
  if (!prepare_demo_data(options, memory, result.corpus, listener, stop)) return result;

  result.trained_tokens = memory.steps * memory.tokens_per_step();
  result.dense.name = "dense";
  result.memory.name = "memory";
  for (const auto& [config, model] :
       {std::pair(&dense, &result.dense), std::pair(&memory, &result.memory)}) {
    listener.stage("train " + model->name);
    if (!train(*config, *model, listener, stop)) return result;
  }
  listener.stage("recall");
  for (const auto& [config, model] :
       {std::pair(&dense, &result.dense), std::pair(&memory, &result.memory)}) {
    if (stop()) return result;
    question(*config, *model, result.corpus, listener);
  }
  result.stopped = false;
  write_file_atomically(FileSystem::real(), options.out / "demo.state", finished_mark + settings);
  return result;
}

}  // namespace memengine
