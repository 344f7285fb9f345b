// Everything is read from files, so a study that was run elsewhere tells the same.
#include "engine/demo/demo.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/report/run_record.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/line_file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void read_recall(const fs::path& result, DemoModel& model) {
  const fs::path path = result / "evaluation.json";
  const Json json =
      is_there(path) ? Json::parse(read_text_file(path, 16 << 20), nullptr, false) : Json();
  try {
    for (const auto& [key, value] : json.at("results").at("recall").items()) {
      const std::size_t comma = key.find(",none");
      if (comma == key.npos || !value.is_number()) continue;
      const std::string name = key.substr(0, comma);
      if (name.ends_with("_stderr")) continue;
      const DemoScore score = {name, value.get<double>()};
      if (name == "all") {
        model.all = score;
      } else {
        model.by_attribute.push_back(score);
      }
    }
    const Json& samples = json.at("n-samples").at("recall");
    model.asked = samples.at("effective").get<std::int64_t>();
    model.there = samples.at("original").get<std::int64_t>();
  } catch (const Json::exception&) {
    fail_input("{}: the study's runs do not evaluate the task recall", path.string());
  }
}

// The rows of all tables that were picked on held-out data.
double rows_used(const RunRecord& record) {
  double used = 0;
  bool any = false;
  for (const auto& [key, curve] : record.curves) {
    if (!key.starts_with("val/pkm/") || !key.ends_with("/unique_rows")) continue;
    if (key == "val/pkm/unique_rows" || record.curve("val/pkm/unique_rows") == nullptr) {
      used += curve.last();
      any = true;
    }
  }
  return any ? used : std::nan("");
}

std::int64_t number_of(double value) {
  return std::isfinite(value) ? std::llround(value) : 0;
}

// What the model answered in its last evaluation, where the run's folder is still there.
void read_completions(const fs::path& run, DemoModel& model, std::vector<DemoQuestion>& questions) {
  std::error_code none;
  std::vector<fs::path> steps;
  for (fs::directory_iterator entry(run / "evals", none), end; !none && entry != end;
       entry.increment(none)) {
    steps.push_back(entry->path());
  }
  if (steps.empty()) return;
  const fs::path path = *std::max_element(steps.begin(), steps.end()) / "samples_recall.jsonl";
  if (!is_there(path)) return;
  const bool first = questions.empty();
  LineFile file(path);
  for (std::string_view line; file.next(line);) {
    const Json json = Json::parse(line, nullptr, false);
    try {
      const std::string prompt = json.at("doc").at("prompt");
      model.completions[prompt] = json.at("resps").at(0).at(0);
      if (first) questions.push_back({prompt, json.at("target")});
    } catch (const Json::exception&) {
    }
  }
}

}  // namespace

DemoResult read_demo(const Study& study) {
  DemoResult result;
  for (const StudyRun& run : study.runs) {
    if (!study_run_is_done(study, run)) {
      fail_input("{}: the run {} is not done", study.out.string(), run.name);
    }
    const fs::path folder = study_result(study, run);
    const RunRecord record = read_run(folder, {});
    DemoModel& model = result.models.emplace_back();
    model.name = without_seed(run.name);
    model.tokens = number_of(record.end.tokens);
    if (model.tokens > 0) model.flops_per_token = number_of(record.end.flops / record.end.tokens);
    model.parameters = number_of(record.last("model/parameters"));
    model.table_parameters = number_of(record.last("model/table_parameters"));
    model.loss = record.last("val/loss");
    model.rows_used = rows_used(record);
    model.seconds = record.end.seconds;
    if (record.end.seconds > 0) model.tokens_per_second = record.end.tokens / record.end.seconds;
    // "65536 rows": each value table has one share of the rows ever used.
    for (const auto& [key, curve] : record.curves) {
      const bool ever = key.starts_with("pkm/") && key.ends_with("rows_ever_used");
      const auto share = record.curves.find(key.substr(0, key.size() - 14) + "ever_used_share");
      if (!ever || share == record.curves.end() || !(share->second.last() > 0)) continue;
      if (key != "pkm/rows_ever_used" && record.curve("pkm/rows_ever_used") != nullptr) continue;
      model.rows += number_of(curve.last() / share->second.last());
    }
    read_recall(folder, model);
    read_completions(study_run_folder(study, run), model, result.questions);
  }
  return result;
}

}  // namespace memengine
