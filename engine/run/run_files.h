// The files a run leaves in its dump_dir: config.yaml as resolved, train.log, metrics.jsonl,
// probe/probe.0.jsonl (the reference's name for it) where probe_freq is given, and with
// logging.tensorboard tensorboard/, event files of the same keys.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/run/run_lines.h"
#include "engine/training/training_listener.h"
#include "io/files/event_file.h"
#include "io/files/file.h"
#include "io/files/metrics.h"

namespace memengine {

// A file that cannot be written after the start does not end the run: what is lost is said once, to
// train.log and to `trouble`.
class RunFiles : public TrainingListener {
 public:
  using Trouble = std::function<void(const std::string&)>;

  // Opened by started(), which knows the folder and whether the run resumes.
  explicit RunFiles(Trouble trouble = {}, FileSystem& files = FileSystem::real())
      : trouble_(std::move(trouble)), files_(files) {}
  ~RunFiles() override;

  void started(const RunConfig& config, const RunStart& start) override;
  void stepped(const StepReport& report) override;
  void probed(const ProbeReport& report) override;
  void validated(const ValidationReport& report) override;
  void saved(const SaveReport& report) override;
  void evaluated(std::int64_t step, const std::string& table) override;
  void failed(const std::string& message) override;
  // Kept back until started().
  void noticed(const std::string& message) override;

 private:
  void log(const std::string& line);
  // A file of metrics, and how many lines are lost since the last that was written.
  struct Journal {
    std::string name;  // within dump_dir
    std::unique_ptr<MetricsFile> file;
    std::int64_t lost_lines = 0;
  };
  // With the run's name and the time in front.
  void write(Journal& journal, std::int64_t step, const std::vector<Metric>& metrics);
  void write_events(std::int64_t step, const std::vector<Metric>& metrics,
                    const std::vector<EventHistogram>& histograms = {});
  void say(const std::string& message);

  Trouble trouble_;
  FileSystem& files_;
  Journal metrics_{"metrics.jsonl", {}};
  std::unique_ptr<EventFile> events_;
  std::int64_t lost_events_ = 0;
  Journal probe_{"probe/probe.0.jsonl", {}};
  std::FILE* log_ = nullptr;
  std::vector<std::string> early_notices_;
  std::string name_;  // of the run
  MemoryPlan plan_;
  std::int64_t parameters_ = 0, table_parameters_ = 0;
};

}  // namespace memengine
