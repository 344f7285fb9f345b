// What `train` says while it works: to people, to programs, or nothing.
#pragma once

#include <memory>
#include <string>

#include "engine/training/training_listener.h"

namespace memengine {

class TrainDisplay : public TrainingListener {
 public:
  bool has_evaluated() const { return evaluated_; }
  void evaluated(std::int64_t /*step*/, const std::string& /*table*/) override {
    evaluated_ = true;
  }
  // At the end, several lines.
  virtual void summarised(const std::string& /*text*/) {}

 private:
  bool evaluated_ = false;
};

// The newest step is the live line; its line stays where something is said about that step, and at
// the end. Where there is no terminal every report is a line, and a long time between two of them
// is broken by lines of what is known meanwhile.
std::unique_ptr<TrainDisplay> people_display();
// One JSON object a line: {"event": "start" | "step" | "validation" | "save" | "evaluation" |
// "note" | "failure" | "end", ...}. Numbers that JSON cannot hold are null.
std::unique_ptr<TrainDisplay> json_display();
// Nothing but notes, on stderr.
std::unique_ptr<TrainDisplay> quiet_display();

}  // namespace memengine
