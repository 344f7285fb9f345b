// The files a run leaves in its dump_dir: config.yaml as resolved, train.log, metrics.jsonl.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/training/training_listener.h"
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
  void validated(const ValidationReport& report) override;
  void saved(const SaveReport& report) override;
  void evaluated(std::int64_t step, const std::string& table) override;
  void failed(const std::string& message) override;
  // Kept back until started().
  void noticed(const std::string& message) override;

 private:
  void log(const std::string& line);
  void write_metrics(const std::vector<Metric>& metrics);

  Trouble trouble_;
  FileSystem& files_;
  std::unique_ptr<MetricsFile> metrics_;
  std::int64_t lost_lines_ = 0;  // of metrics, since the last that was written
  std::FILE* log_ = nullptr;
  std::vector<std::string> early_notices_;
  MemoryPlan plan_;
};

// The lines that training prints about itself, on a terminal and in train.log alike; no newline at
// the end.
std::string start_text(const RunConfig& config, const RunStart& start);  // several lines
std::string step_line(const StepReport& report);
std::string validation_line(const ValidationReport& report);
std::string save_line(const SaveReport& report);

// "12.3k", "4.56M".
std::string count_text(double count);
// "1h 02m", "3m 10s", "12s".
std::string duration_text(double seconds);

}  // namespace memengine
