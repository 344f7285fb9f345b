// What a study ends with.
#pragma once

#include <filesystem>
#include <string>

#include "engine/report/run_record.h"
#include "engine/study/study.h"

namespace memengine {

// Writes <out>/report.html on the results that are there, and returns its path; empty without any.
// `target`: see RunReading.
std::filesystem::path write_study_report(const Study& study, double target);

// The error that says that runs failed.
[[noreturn]] void fail_failed_runs(const Study& study, const StudyOutcome& outcome);

}  // namespace memengine
