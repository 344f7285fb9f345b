// A study: one base config over a grid or a list of overrides, and seeds.
//
//   base: configs/laptop.yaml        as typed, or beside the study's file
//   out: runs/lr_study               folder; everything of the study is in it
//   set: {steps: 400}                overrides of all runs
//   runs:                            a list of variants (or one without a name)...
//     - {name: dense, set: {model.productkey_args.is_enabled: false}}
//     - {name: memory}
//   grid:                            ...each with every combination of these
//     optim.lr: [1e-3, 2e-3]
//   seeds: [1, 2, 3]                 ...and every seed (default: the config's)
//
// Every run is a process of its own (`memengine train`), one after the other or one per GPU, so
// that none can take the others down. What is done is told by results/<run>/: config.yaml,
// metrics.jsonl, metrics.eval.jsonl and, written last, result.json, a few kilobytes that are enough
// to go on and to report on another machine; runs/<run>/ holds checkpoints and may be lost.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace memengine {

struct StudyRun {
  std::string name;                    // of its folders: letters, digits and ._=,+-
  std::vector<std::string> overrides;  // without dump_dir and name, which follow from it
  std::string config;                  // as resolved, YAML: a run of another config is not done
};

struct Study {
  std::filesystem::path base, out;
  std::vector<StudyRun> runs;
};

// Reads and checks everything: every run's config is loaded. `out` other than empty replaces the
// file's. Input errors: what the YAML and the configs refuse, two runs of one name, none at all,
// more than 10,000.
Study load_study(const std::filesystem::path& path, const std::filesystem::path& out = {});

// Whether results/<run>/ holds this run's result.
bool study_run_is_done(const Study& study, const StudyRun& run);

struct StudyOptions {
  std::filesystem::path program;  // that is called as `program train ...`
  std::vector<std::string> gpus;  // one run on each at a time; empty: one after the other
};

class StudyListener {
 public:
  virtual ~StudyListener() = default;
  virtual void skipped(const StudyRun& /*run*/) {}
  virtual void started(const StudyRun& /*run*/, const std::string& /*gpu*/) {}
  virtual void finished(const StudyRun& /*run*/, double /*seconds*/) {}
  // `message`: the last line that it said on stderr.
  virtual void failed(const StudyRun& /*run*/, int /*code*/, const std::string& /*message*/) {}
  // Often, while runs are under way.
  virtual void waiting(std::size_t /*done*/, std::size_t /*running*/) {}
};

struct StudyOutcome {
  std::size_t done = 0, failed = 0;
  bool stopped = false;
};

// Runs what is not done. `stop` is asked several times a second; then the runs under way are told
// to save and end. A run that fails does not keep the others from going on. When this process dies,
// its runs die with it. Input error: the folder is not ours, or in use.
StudyOutcome run_study(const Study& study, const StudyOptions& options, StudyListener& listener,
                       const std::function<bool()>& stop);

// The folders of the results that are there, for reports.
std::vector<std::filesystem::path> study_results(const Study& study);

}  // namespace memengine
