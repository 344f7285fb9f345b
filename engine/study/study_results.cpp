#include "engine/study/study_results.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <span>
#include <vector>

#include "engine/report/run_record.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uint64_t max_result_bytes = 1 << 20;

// Block by block: a file of metrics may be large.
void copy_small_file(const fs::path& from, const fs::path& to) {
  const InputFile source(from);
  const fs::path aside = to.string() + ".part";
  OutputFile target(FileSystem::real(), aside);
  std::vector<std::byte> block(1 << 20);
  for (std::size_t got; (got = source.read_some(target.size(), block)) > 0;) {
    target.append(std::span(block).first(got));
  }
  target.finish();
  FileSystem::real().rename(aside, to);
}

// The results.json of a run's last evaluation; empty where there was none.
fs::path last_evaluation(const fs::path& run) {
  std::error_code none;
  fs::path last;
  for (fs::directory_iterator entry(run / "evals", none), end; !none && entry != end;
       entry.increment(none)) {
    const fs::path results = entry->path() / "results.json";
    if (is_there(results) && (last.empty() || last < results)) last = results;
  }
  return last;
}

Json finite(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

}  // namespace

fs::path study_result(const Study& study, const StudyRun& run) {
  return study.out / "results" / run.name;
}

fs::path study_run_folder(const Study& study, const StudyRun& run) {
  return study.out / "runs" / run.name;
}

Json study_identity(const Study& study, const StudyRun& run) {
  Json identity = {{"config", run.config}};
  if (!study.prepare.empty()) identity["prepare"] = study.prepare;
  return identity;
}

bool holds_identity(const fs::path& file, const Json& identity) {
  if (!is_there(file)) return false;
  try {
    const Json json = Json::parse(read_text_file(file, max_result_bytes), nullptr, false);
    if (!json.is_object()) return false;
    return std::all_of(identity.items().begin(), identity.items().end(), [&](const auto& member) {
      return json.value(member.key(), Json()) == member.value();
    });
  } catch (const Error&) {
    return false;
  }
}

bool study_run_is_done(const Study& study, const StudyRun& run) {
  return holds_identity(study_result(study, run) / "result.json", study_identity(study, run));
}

void keep_result(const Study& study, const StudyRun& run, double wall_seconds) {
  const fs::path from = study_run_folder(study, run), to = study_result(study, run);
  FileSystem::real().make_folder(to);
  for (const char* name : {"config.yaml", "metrics.jsonl", "metrics.eval.jsonl"}) {
    FileSystem::real().remove_all(to / name);
    if (is_there(from / name)) copy_small_file(from / name, to / name);
  }
  FileSystem::real().remove_all(to / "evaluation.json");
  const fs::path evaluation = last_evaluation(from);
  if (!evaluation.empty()) copy_small_file(evaluation, to / "evaluation.json");
  const RunRecord record = read_run(to, {});
  Json json = {{"name", run.name},
               {"steps", record.end.step},
               {"tokens", record.end.tokens},
               {"training_seconds", record.end.seconds},
               {"training_flops", record.end.flops},
               {"wall_seconds", wall_seconds},
               {"loss", finite(record.last("loss/out"))},
               {"val_loss", finite(record.last("val/loss"))},
               {"parameters", finite(record.last("model/parameters"))},
               {"table_parameters", finite(record.last("model/table_parameters"))},
               {"device_bytes", finite(record.last("memory/device_bytes"))},
               {"host_table_bytes", finite(record.last("memory/host_table_bytes"))},
               {"evaluation", record.evaluation}};
  json.update(study_identity(study, run));
  write_file_atomically(FileSystem::real(), to / "result.json",
                        json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::vector<fs::path> study_results(const Study& study) {
  std::vector<fs::path> results;
  for (const StudyRun& run : study.runs) {
    if (study_run_is_done(study, run)) results.push_back(study_result(study, run));
  }
  return results;
}

bool holds_carried_results(const fs::path& out) {
  std::error_code none;
  const std::set<std::string> parts = {"results", "runs", "logs", "report.html"};
  for (const fs::directory_entry& entry : fs::directory_iterator(out, none)) {
    if (!parts.contains(entry.path().filename().string())) return false;
  }
  std::size_t results = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(out / "results", none)) {
    if (!holds_identity(entry.path() / "result.json",
                        {{"name", entry.path().filename().string()}})) {
      return false;
    }
    ++results;
  }
  return results > 0;
}

std::string last_line(const fs::path& path, std::size_t column, std::string_view begins) {
  constexpr std::uint64_t most = 64 << 10;
  try {
    const InputFile file(path);
    const std::uint64_t size = file.size();
    std::string text(std::min(size, most), '\0');
    const std::size_t got = file.read_some(
        size - text.size(), std::as_writable_bytes(std::span(text.data(), text.size())));
    text.resize(got);
    while (!text.empty()) {
      while (text.ends_with('\n')) text.pop_back();
      const std::size_t begin = text.rfind('\n') + 1;
      const std::string line = text.substr(begin);
      if (line.size() > column && line.compare(column, begins.size(), begins) == 0) return line;
      text.resize(begin);
    }
    return "";
  } catch (const Error&) {
    return "";
  }
}

std::string failure_told(const fs::path& log) {
  const std::string told = last_line(log, 0, "memengine: ");
  return told.empty() ? last_line(log) : told;
}

}  // namespace memengine
