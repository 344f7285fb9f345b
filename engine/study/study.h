// A study: one base config over a grid or a list of overrides, and seeds.
//
//   base: ../laptop.yaml             beside the study's file, or as typed
//   out: runs/lr_study               folder; everything of the study is in it
//   variables: {people: 300}         ${people} stands for 300 in every value below; ${out} is known
//   prepare:                         commands of this program that make the data, in this order,
//     - synth --people ${people} --out ${out}/text       once, before the first run
//   set: {steps: 400}                overrides of all runs
//   runs:                            a list of variants (or one without a name)...
//     - {name: dense, set: {model.productkey_args.is_enabled: false}}
//     - {name: memory}
//   grid:                            ...each with every combination of these
//     optim.lr: [1e-3, 2e-3]
//   seeds: [1, 2, 3]                 ...and every seed (default: the config's)
//   small:                           what another size of the same study has in place of the above;
//     variables: {people: 30}        `variables` and `set` key by key, the rest as a whole
//
// Every run is a process of its own (`memengine train`), one after the other or one per GPU, so
// that none can take the others down. What is done is told by results/<run>/: config.yaml,
// metrics.jsonl, metrics.eval.jsonl, evaluation.json (of the last evaluation) and, written last,
// result.json, a few kilobytes that are enough to go on and to report on another machine;
// runs/<run>/ holds checkpoints and may be lost.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
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
  std::vector<std::vector<std::string>> prepare;  // words of each command, without the program's
  std::map<std::string, std::string> variables;
  std::vector<StudyRun> runs;
};

// What a user may want otherwise than the file says.
struct StudyChanges {
  std::filesystem::path out = {}, base = {};  // other than empty: in place of the file's
  bool small = false;                         // the file's small form
  bool first_seed_only = false;
  std::vector<std::string> seeds = {};  // other than none: in place of the file's
  // "key=value", the last word on a variable of the study, or on a key of every run's config.
  std::vector<std::string> overrides = {};
};

// Reads and checks everything: every run's config is loaded. The small form lies in <out>_small
// where it names no folder. Input errors: what the YAML and the configs refuse, two runs of one
// name, none at all, more than 10,000.
Study load_study(const std::filesystem::path& path, const StudyChanges& changes = {});

// Whether results/<run>/ holds this run's result: of the same config and the same `prepare`.
bool study_run_is_done(const Study& study, const StudyRun& run);

struct StudyOptions {
  std::filesystem::path program;  // that is called as `program train ...`
  std::vector<std::string> gpus;  // one run on each at a time; empty: one after the other
};

class StudyListener {
 public:
  virtual ~StudyListener() = default;
  // A command of `prepare` begins.
  virtual void preparing(const std::string& /*command*/) {}
  virtual void skipped(const StudyRun& /*run*/) {}
  virtual void started(const StudyRun& /*run*/, const std::string& /*gpu*/) {}
  // The newest line of a step in its train.log, whenever there is another.
  virtual void stepped(const StudyRun& /*run*/, const std::string& /*line*/) {}
  virtual void finished(const StudyRun& /*run*/, double /*seconds*/) {}
  // `message`: the last line that it said on stderr.
  virtual void failed(const StudyRun& /*run*/, int /*code*/, const std::string& /*message*/) {}
  // Often, while runs or commands are under way.
  virtual void waiting(std::size_t /*done*/, std::size_t /*running*/) {}
};

struct StudyOutcome {
  std::size_t done = 0, failed = 0;
  bool stopped = false;
};

// Runs what is not done; what runs/ holds of a run of another config or of other data is removed
// before. `stop` is asked several times per second; then the runs under way are told to save and
// end. A run that fails does not keep the others from going on. When this process dies, its runs
// die with it. Input errors: the folder is not ours, or in use; a command of `prepare` that fails.
StudyOutcome run_study(const Study& study, const StudyOptions& options, StudyListener& listener,
                       const std::function<bool()>& stop);

// A file of a run's result, and the folder of its run.
std::filesystem::path study_result(const Study& study, const StudyRun& run);
std::filesystem::path study_run_folder(const Study& study, const StudyRun& run);

// The folders of the results that are there, for reports.
std::vector<std::filesystem::path> study_results(const Study& study);

}  // namespace memengine
