// What `study` and `demo` say while their runs are under way.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>

#include "cli/terminal.h"
#include "engine/study/study.h"

namespace memengine {

// On a terminal the newest step is a live line; elsewhere ten lines a run are enough, and two where
// there are many runs.
class StudyDisplay : public StudyListener {
 public:
  explicit StudyDisplay(std::size_t total) : total_(total) {}

  void preparing(const std::string& command) override;
  void skipped(const StudyRun& run) override;
  void started(const StudyRun& run, const std::string& gpu) override;
  void stepped(const StudyRun& run, const std::string& line) override;
  void finished(const StudyRun& run, double seconds) override;
  void failed(const StudyRun& run, int code, const std::string& message) override;
  void waiting(std::size_t done, std::size_t running) override;

  void say(const std::string& text);
  void clear() { line_.clear(); }
  double seconds() const;  // since the start

 private:
  void say_skipped();

  LiveLine line_;
  std::size_t total_, skipped_ = 0;
  std::map<std::string, int> parts_told_;  // told of each run
  std::string newest_;                     // the run and step that were told last
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// In a clone configs lie below the working folder; an installed program has them beside itself.
std::filesystem::path where_it_lies(const std::filesystem::path& config);

}  // namespace memengine
