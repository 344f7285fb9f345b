// The order of things: what is done is skipped; the rest is started as GPUs come free; a run that
// ended well has its small files copied, result.json last, each written as a whole.
#include "engine/study/study.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <list>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/clock.h"
#include "engine/report/run_record.h"
#include "engine/study/run_process.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/output_folder.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t max_result_bytes = 1 << 20;

fs::path result_folder(const Study& study, const StudyRun& run) {
  return study.out / "results" / run.name;
}

// Block by block: a file of metrics may be large.
void copy_small_file(const fs::path& from, const fs::path& to) {
  const InputFile source(from);
  const fs::path aside = to.string() + ".part";
  OutputFile target(FileSystem::real(), aside);
  std::vector<std::byte> block(1 << 20);
  for (std::size_t got; (got = source.read_some(target.size(), block)) > 0;) {
    target.append(std::span(block).first(got));
  }
  target.finish();
  FileSystem::real().rename(aside, to);
}

void keep_result(const Study& study, const StudyRun& run, double seconds) {
  const fs::path from = study.out / "runs" / run.name, to = result_folder(study, run);
  FileSystem::real().make_folder(to);
  for (const char* name : {"config.yaml", "metrics.jsonl", "metrics.eval.jsonl"}) {
    if (is_there(from / name)) copy_small_file(from / name, to / name);
  }
  const RunRecord record = read_run(to, {});
  const auto number = [](double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
  };
  const Json json = {{"name", run.name},
                     {"steps", record.end.step},
                     {"tokens", record.end.tokens},
                     {"training_seconds", record.end.seconds},
                     {"wall_seconds", seconds},
                     {"loss", number(record.last("loss/out"))},
                     {"val_loss", number(record.last("val/loss"))},
                     {"evaluation", record.evaluation},
                     {"config", run.config}};
  write_file_atomically(FileSystem::real(), to / "result.json",
                        json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string last_line(const fs::path& path) {
  std::string text;
  try {
    text = read_text_file(path, max_result_bytes);
  } catch (const Error&) {
    return "";
  }
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

struct Running {
  const StudyRun* run;
  std::string gpu;
  RunProcess process;
  double begin;
};

Running start(const Study& study, const StudyRun& run, const StudyOptions& options,
              const std::string& gpu) {
  std::vector<std::string> arguments = {"train", study.base.string()};
  arguments.insert(arguments.end(), run.overrides.begin(), run.overrides.end());
  arguments.push_back("--quiet");
  const fs::path errors = study.out / "logs" / (run.name + ".log");
  return {&run, gpu, RunProcess(options.program, arguments, errors, gpu), now_seconds()};
}

}  // namespace

bool study_run_is_done(const Study& study, const StudyRun& run) {
  const fs::path path = result_folder(study, run) / "result.json";
  if (!is_there(path)) return false;
  try {
    const auto json = nlohmann::json::parse(read_text_file(path, max_result_bytes), nullptr, false);
    return json.is_object() && json.value("config", Json()) == run.config;
  } catch (const Error&) {
    return false;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

StudyOutcome run_study(const Study& study, const StudyOptions& options, StudyListener& listener,
                       const std::function<bool()>& stop) {
  const OutputFolder folder(study.out, "study");
  FileSystem::real().make_folder(study.out / "logs");
  FileSystem::real().make_folder(study.out / "results");
  StudyOutcome outcome;
  std::list<const StudyRun*> waiting;
  for (const StudyRun& run : study.runs) {
    if (study_run_is_done(study, run)) {
      ++outcome.done;
      listener.skipped(run);
    } else {
      waiting.push_back(&run);
    }
  }
  std::vector<std::string> free = options.gpus;
  if (free.empty()) free.emplace_back();
  std::list<Running> running;
  while (!waiting.empty() || !running.empty()) {
    if (!outcome.stopped && stop()) {
      outcome.stopped = true;
      waiting.clear();
      for (const Running& each : running) each.process.signal(SIGTERM);
    }
    while (!free.empty() && !waiting.empty()) {
      const StudyRun& run = *waiting.front();
      waiting.pop_front();
      listener.started(run, free.back());
      running.push_back(start(study, run, options, free.back()));
      free.pop_back();
    }
    for (auto each = running.begin(); each != running.end();) {
      if (!each->process.ended()) {
        ++each;
        continue;
      }
      const int code = each->process.code();
      const double seconds = now_seconds() - each->begin;
      if (code == 0) {
        keep_result(study, *each->run, seconds);
        ++outcome.done;
        listener.finished(*each->run, seconds);
      } else if (!(outcome.stopped && code > 128)) {
        ++outcome.failed;
        listener.failed(*each->run, code,
                        last_line(study.out / "logs" / (each->run->name + ".log")));
      }
      free.push_back(each->gpu);
      each = running.erase(each);
    }
    listener.waiting(outcome.done, running.size());
    if (!running.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return outcome;
}

std::vector<fs::path> study_results(const Study& study) {
  std::vector<fs::path> results;
  for (const StudyRun& run : study.runs) {
    if (study_run_is_done(study, run)) results.push_back(result_folder(study, run));
  }
  return results;
}

}  // namespace memengine
