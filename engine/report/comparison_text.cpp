// A comparison's figures in words, CSV and JSON.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/report/comparison.h"
#include "engine/run/run_lines.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

std::string one_figure(double value, FigureForm form) {
  switch (form) {
    case FigureForm::count:
      return count_text(value);
    case FigureForm::loss:
      return fmt::format("{:.4f}", value);
    case FigureForm::seconds:
      return value < 60 ? fmt::format("{:.1f}s", value) : duration_text(value);
    case FigureForm::share:
      return fmt::format("{:.1f}%", 100 * value);
    case FigureForm::ratio:
      return fmt::format("{:.2f}x", value);
    case FigureForm::plain:
      return fmt::format("{:.4g}", value);
  }
  return "";
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

std::string csv_number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "";
}

}  // namespace

std::string figure_text(const Figure& figure, FigureForm form, std::size_t runs) {
  if (figure.count == 0) return "-";
  std::string text = one_figure(figure.mean, form);
  if (std::isfinite(figure.error) && figure.error > 1e-9 * std::abs(figure.mean)) {
    text += " ± ";
    text += form == FigureForm::plain ? fmt::format("{:.2g}", figure.error)
                                      : one_figure(figure.error, form);
  }
  if (figure.count < runs) text += fmt::format(" ({} of {})", figure.count, runs);
  return text;
}

std::string comparison_csv(const Comparison& comparison) {
  std::string text = "run,runs";
  const auto put = [&text](std::string_view field) {
    text += ',';
    text += csv_field(field);
  };
  for (const ComparisonColumn& column : comparison.columns) {
    put(column.key);
    put(column.key + "_stderr");
  }
  for (const auto& [key, values] : comparison.differences) put("config." + key);
  text += '\n';
  for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
    const RunGroup& group = comparison.groups[g];
    text += csv_field(group.title);
    put(std::to_string(group.runs.size()));
    for (const Figure& figure : comparison.figures[g]) {
      put(csv_number(figure.mean));
      put(csv_number(figure.error));
    }
    for (const auto& [key, values] : comparison.differences) put(values[g]);
    text += '\n';
  }
  return text;
}

std::string comparison_json(const Comparison& comparison) {
  Json runs = Json::array();
  for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
    const RunGroup& group = comparison.groups[g];
    Json folders = Json::array();
    for (const RunRecord* record : group.runs) folders.push_back(record->folder.string());
    Json figures = Json::object();
    for (std::size_t c = 0; c < comparison.columns.size(); ++c) {
      const Figure& figure = comparison.figures[g][c];
      figures[comparison.columns[c].key] = {
          {"mean", number(figure.mean)}, {"stderr", number(figure.error)}, {"runs", figure.count}};
    }
    Json config = Json::object();
    for (const auto& [key, values] : comparison.differences) config[key] = values[g];
    runs.push_back(
        {{"name", group.title}, {"folders", folders}, {"figures", figures}, {"config", config}});
  }
  Json json = {{"runs", runs}};
  if (comparison.target > 0) {
    json["target"] = {{"loss", comparison.target},
                      {"of", comparison.by_validation ? "validation" : "training"}};
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace memengine
