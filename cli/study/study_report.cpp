#include "cli/study/study_report.h"

#include <vector>

#include "engine/report/comparison.h"
#include "engine/report/run_report.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {

std::filesystem::path write_study_report(const Study& study, double target) {
  const std::vector<std::filesystem::path> results = study_results(study);
  if (results.empty()) return {};
  std::vector<RunRecord> records;
  for (const std::filesystem::path& folder : results) {
    records.push_back(read_run(folder, {drawn_points(results.size()), target}));
  }
  const std::filesystem::path report = study.out / "report.html";
  write_file_atomically(FileSystem::real(), report, report_html(compare_runs(records, target)));
  return report;
}

void fail_failed_runs(const Study& study, const StudyOutcome& outcome) {
  fail_internal("{} of {} runs failed; {} has what each said; the same command tries them again",
                outcome.failed, study.runs.size(), (study.out / "logs").string());
}

}  // namespace memengine
