// The order of things: the data are made; what is done is skipped; the rest is started as GPUs come
// free; a run that ended well has its small files kept.
//
// Two marks keep runs of other settings apart: prepare.json lists the commands that have been done,
// and logs/<run>.json says of which config and data the folder in runs/ is.
#include "engine/study/study.h"

#include <fmt/ranges.h>

#include <chrono>
#include <csignal>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "engine/clock.h"
#include "engine/study/run_process.h"
#include "engine/study/study_results.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/output_folder.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr auto look_again = std::chrono::milliseconds(100);

class StudyWork {
 public:
  StudyWork(const Study& study, const StudyOptions& options, StudyListener& listener,
            const std::function<bool()>& stop)
      : study_(study), options_(options), listener_(listener), stop_(stop) {}

  StudyOutcome run() {
    for (const StudyRun& run : study_.runs) {
      if (study_run_is_done(study_, run)) {
        ++outcome_.done;
        listener_.skipped(run);
      } else {
        waiting_.push_back(&run);
      }
    }
    if (waiting_.empty() || !prepare()) return outcome_;
    free_ = options_.gpus;
    if (free_.empty()) free_.emplace_back();
    while (!waiting_.empty() || !running_.empty()) {
      if (!outcome_.stopped && stop_()) stop_all();
      while (!free_.empty() && !waiting_.empty()) start_next();
      for (auto each = running_.begin(); each != running_.end();) {
        each = look_at(*each) ? running_.erase(each) : std::next(each);
      }
      listener_.waiting(outcome_.done, running_.size());
      if (!running_.empty()) std::this_thread::sleep_for(look_again);
    }
    return outcome_;
  }

 private:
  struct Running {
    const StudyRun* run;
    std::string gpu;
    RunProcess process;
    double begin;
    std::string line = {};  // of its log, the newest that was told
  };

  // Those of `prepare` that have not been done, and all after a changed one. False: stopped.
  bool prepare() {
    const fs::path mark = study_.out / "prepare.json";
    Json done = Json::array();
    try {
      if (is_there(mark)) done = Json::parse(read_text_file(mark, 1 << 20), nullptr, false);
    } catch (const Error&) {
    }
    bool same = done.is_array();
    Json made = Json::array();
    for (std::size_t i = 0; i < study_.prepare.size(); ++i) {
      const std::vector<std::string>& words = study_.prepare[i];
      same = same && i < done.size() && done[i] == words;
      if (!same && !run_command(words, i)) return false;
      made.push_back(words);
      if (!same) write_file_atomically(FileSystem::real(), mark, made.dump(2) + "\n");
    }
    return true;
  }

  bool run_command(const std::vector<std::string>& words, std::size_t index) {
    const std::string command = fmt::format("{}", fmt::join(words, " "));
    listener_.preparing(command);
    const fs::path log = study_.out / "logs" / fmt::format("prepare_{}.log", index + 1);
    RunProcess process(options_.program, words, log, log, "");
    while (!process.ended()) {
      if (!outcome_.stopped && stop_()) {
        outcome_.stopped = true;
        process.signal(SIGTERM);
      }
      listener_.waiting(outcome_.done, 1);
      std::this_thread::sleep_for(look_again);
    }
    if (process.code() == 0) return !outcome_.stopped;
    if (outcome_.stopped) return false;
    fail_input("prepare: `memengine {}` failed with code {}: {}", command, process.code(),
               failure_told(log));
  }

  void stop_all() {
    outcome_.stopped = true;
    waiting_.clear();
    for (const Running& each : running_) each.process.signal(SIGTERM);
  }

  void start_next() {
    const StudyRun& run = *waiting_.front();
    waiting_.pop_front();
    const std::string gpu = free_.back();
    free_.pop_back();
    const Json identity = study_identity(study_, run);
    const fs::path mark = study_.out / "logs" / (run.name + ".json");
    if (!holds_identity(mark, identity)) {
      FileSystem::real().remove_all(study_run_folder(study_, run));
      write_file_atomically(FileSystem::real(), mark, identity.dump(2) + "\n");
    }
    std::vector<std::string> arguments = {"train", study_.base.string()};
    arguments.insert(arguments.end(), run.overrides.begin(), run.overrides.end());
    arguments.push_back("--quiet");
    listener_.started(run, gpu);
    running_.push_back(
        {&run, gpu, RunProcess(options_.program, arguments, {}, log_of(run), gpu), now_seconds()});
  }

  fs::path log_of(const StudyRun& run) const { return study_.out / "logs" / (run.name + ".log"); }

  // True where it has ended.
  bool look_at(Running& running) {
    const StudyRun& run = *running.run;
    if (!running.process.ended()) {
      tell_step(running);
      return false;
    }
    const int code = running.process.code();
    const double seconds = now_seconds() - running.begin;
    if (code == 0) {
      tell_step(running);
      keep_result(study_, run, seconds);
      ++outcome_.done;
      listener_.finished(run, seconds);
    } else if (!(outcome_.stopped && code > 128)) {
      ++outcome_.failed;
      listener_.failed(run, code, failure_told(log_of(run)));
    }
    free_.push_back(running.gpu);
    return true;
  }

  // "2026-11-26 05:00:00 step 10/100  loss ..."
  void tell_step(Running& running) {
    constexpr std::size_t time = 20;
    const std::string line =
        last_line(study_run_folder(study_, *running.run) / "train.log", time, "step ");
    if (line.empty() || line == running.line) return;
    running.line = line;
    listener_.stepped(*running.run, line.substr(time));
  }

  const Study& study_;
  const StudyOptions& options_;
  StudyListener& listener_;
  const std::function<bool()>& stop_;
  StudyOutcome outcome_;
  std::list<const StudyRun*> waiting_;
  std::vector<std::string> free_;
  std::list<Running> running_;
};

}  // namespace

StudyOutcome run_study(const Study& study, const StudyOptions& options, StudyListener& listener,
                       const std::function<bool()>& stop) {
  const OutputFolder folder(study.out, "study", [&] { return holds_carried_results(study.out); });
  FileSystem::real().make_folder(study.out / "logs");
  FileSystem::real().make_folder(study.out / "results");
  return StudyWork(study, options, listener, stop).run();
}

}  // namespace memengine
