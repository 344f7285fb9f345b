#include "engine/report/trade_off/trade_off.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/report/group_curve.h"
#include "engine/report/html.h"
#include "engine/report/svg.h"

namespace memengine {
namespace {

constexpr std::size_t most_pictures = 8;

// First metrics of all tasks, in the order in which they were asked.
std::vector<std::string> first_metrics(const Comparison& comparison) {
  std::vector<std::string> metrics;
  for (const RunGroup& group : comparison.groups) {
    for (const RunRecord* run : group.runs) {
      for (const std::string& metric : run->first_metrics) {
        if (std::find(metrics.begin(), metrics.end(), metric) == metrics.end()) {
          metrics.push_back(metric);
        }
      }
    }
  }
  return metrics;
}

// Titles without what all of them end with from a '-' on, as grids and seeds make it.
std::vector<std::string> short_titles(const Comparison& comparison) {
  std::vector<std::string> titles;
  for (const RunGroup& group : comparison.groups) titles.push_back(group.title);
  for (std::size_t dash; (dash = titles.front().rfind('-')) != std::string::npos && dash > 0;) {
    const std::string end = titles.front().substr(dash);
    const bool common = std::all_of(titles.begin(), titles.end(), [&](const std::string& title) {
      return title.size() > end.size() && title.ends_with(end);
    });
    if (!common) break;
    for (std::string& title : titles) title.resize(title.size() - end.size());
  }
  return titles;
}

double mean_of(const RunGroup& group, const std::string& metric) {
  std::vector<double> values;
  for (const RunRecord* run : group.runs) {
    const auto found = run->evaluation.find(metric);
    values.push_back(found == run->evaluation.end() ? nothing : found->second);
  }
  return figure_of(values).mean;
}

// The evaluations of one run on the way; of several runs only their mean at the end is a point.
std::vector<ChartPoint> way_of(const RunGroup& group, const std::string& x, const std::string& y) {
  std::vector<ChartPoint> points;
  if (group.runs.size() == 1) {
    const Curve* along = group.runs.front()->curve("eval/" + x);
    const Curve* up = group.runs.front()->curve("eval/" + y);
    if (along != nullptr && up != nullptr && along->parts().size() == up->parts().size()) {
      for (std::size_t i = 0; i + 1 < along->parts().size(); ++i) {
        points.push_back({along->parts()[i].mean, up->parts()[i].mean});
      }
    }
  }
  points.push_back({mean_of(group, x), mean_of(group, y)});
  return points;
}

std::string picture(const Comparison& comparison, const std::vector<std::size_t>& drawn,
                    const std::string& x, const std::string& y) {
  const std::vector<std::string> titles = short_titles(comparison);
  Chart chart;
  chart.x_title = x;
  chart.y_title = y;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const RunGroup& group = comparison.groups[drawn[i]];
    ChartSeries series;
    series.points = way_of(group, x, y);
    const ChartPoint end = series.points.back();
    if (!std::isfinite(end.x) || !std::isfinite(end.y)) continue;
    series.name = fmt::format("{}: {} {:.4g}, {} {:.4g}", group.title, x, end.x, y, end.y);
    series.label = titles[drawn[i]];
    series.colour = i;
    series.dashed = i >= 8;
    series.group = fmt::format("g{}", drawn[i]);
    chart.series.push_back(std::move(series));
  }
  if (chart.series.size() < 2) return "";
  return html_element("figure", {},
                      html_element("figcaption", y + " against " + x) + svg_chart(chart));
}

// --- Against what it took ------------------------------------------------------------------------

struct Result {
  std::string title, metric;  // of the axis; of the metrics or the evaluation
  bool less_is_better = false;
};

std::vector<Result> results(const Comparison& comparison) {
  std::vector<Result> found;
  for (const ComparisonColumn& column : comparison.columns) {
    if (column.key == "val_loss") found.push_back({column.title, "val/loss", true});
  }
  for (const std::string& metric : first_metrics(comparison)) {
    for (const ComparisonColumn& column : comparison.columns) {
      if (column.key == metric) found.push_back({metric, metric, column.less_is_better});
    }
    break;
  }
  return found;
}

double result_of(const RunGroup& group, const Result& result) {
  if (result.metric != "val/loss") return mean_of(group, result.metric);
  std::vector<double> values;
  for (const RunRecord* run : group.runs) values.push_back(run->last(result.metric));
  return figure_of(values).mean;
}

double cost_of(const RunGroup& group, RunAxis axis) {
  std::vector<double> values;
  for (const RunRecord* run : group.runs) values.push_back(along(run->end, axis));
  return figure_of(values).mean;
}

// Whether no other point is as good for as little.
bool is_on_the_front(const std::vector<ChartPoint>& points, std::size_t i, bool less_is_better) {
  return std::none_of(points.begin(), points.end(), [&](const ChartPoint& other) {
    const bool better = less_is_better ? other.y < points[i].y : other.y > points[i].y;
    const bool as_good = better || other.y == points[i].y;
    return as_good && other.x <= points[i].x && (better || other.x < points[i].x);
  });
}

std::string cost_picture(const Comparison& comparison, const std::vector<std::size_t>& drawn,
                         const Result& result, RunAxis axis, const std::string& axis_title) {
  constexpr std::size_t most_labels = 16;
  std::vector<ChartPoint> points;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const RunGroup& group = comparison.groups[drawn[i]];
    const ChartPoint point = {cost_of(group, axis), result_of(group, result)};
    if (!std::isfinite(point.x) || !std::isfinite(point.y) || !(point.x > 0)) continue;
    points.push_back(point);
    places.push_back(i);
  }
  const auto differs = [&](const ChartPoint& point) {
    return std::abs(point.x - points.front().x) > 1e-3 * points.front().x;
  };
  if (std::none_of(points.begin(), points.end(), differs)) return "";
  const std::vector<std::string> titles = short_titles(comparison);
  Chart chart;
  chart.x_title = axis_title;
  chart.y_title = result.title;
  for (std::size_t p = 0; p < points.size(); ++p) {
    const RunGroup& group = comparison.groups[drawn[places[p]]];
    ChartSeries series;
    series.points = {points[p]};
    series.name = fmt::format("{}: {} {:.4g}, {} {}", group.title, result.title, points[p].y,
                              axis_text(points[p].x), axis_title);
    if (points.size() <= most_labels || is_on_the_front(points, p, result.less_is_better)) {
      series.label = titles[drawn[places[p]]];
    }
    series.colour = places[p];
    series.group = fmt::format("g{}", drawn[places[p]]);
    chart.series.push_back(std::move(series));
  }
  return html_element(
      "figure", {},
      html_element("figcaption", result.title + " against " + axis_title) + svg_chart(chart));
}

}  // namespace

std::string cost_charts(const Comparison& comparison, const std::vector<std::size_t>& drawn) {
  std::string pictures;
  for (const Result& result : results(comparison)) {
    pictures += cost_picture(comparison, drawn, result, RunAxis::seconds, "seconds of training");
    pictures += cost_picture(comparison, drawn, result, RunAxis::flops, "training FLOPs");
  }
  return pictures;
}

std::string trade_off_charts(const Comparison& comparison, const std::vector<std::size_t>& drawn) {
  const std::vector<std::string> metrics = first_metrics(comparison);
  std::string pictures;
  for (std::size_t i = 1; i < std::min(metrics.size(), most_pictures + 1); ++i) {
    pictures += picture(comparison, drawn, metrics.front(), metrics[i]);
  }
  return pictures;
}

}  // namespace memengine
