// What a training run was, told at its end: a table and the commands that come next.
#pragma once

#include <string>

#include "engine/training/training_listener.h"

namespace memengine {

class RunSummary : public TrainingListener {
 public:
  void started(const RunConfig& config, const RunStart& start) override;
  void stepped(const StepReport& report) override;
  void validated(const ValidationReport& report) override;
  void saved(const SaveReport& report) override;

  // Several lines without a newline at the end; empty where nothing was trained.
  std::string text() const;

 private:
  RunConfig config_;
  RunStart start_;
  StepReport last_;
  ValidationReport validation_;
  std::int64_t begin_ = 0, saved_step_ = -1;
  double seconds_ = 0;  // of training steps, in this session
  double share_ = 0;    // attained share times seconds
};

}  // namespace memengine
