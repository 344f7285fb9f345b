#include "engine/report/trade_off/trade_off.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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
    series.label = group.title;
    series.colour = i;
    series.dashed = i >= 8;
    series.group = fmt::format("g{}", drawn[i]);
    chart.series.push_back(std::move(series));
  }
  if (chart.series.size() < 2) return "";
  return html_element("figure", {},
                      html_element("figcaption", y + " against " + x) + svg_chart(chart));
}

}  // namespace

std::string trade_off_charts(const Comparison& comparison, const std::vector<std::size_t>& drawn) {
  const std::vector<std::string> metrics = first_metrics(comparison);
  std::string pictures;
  for (std::size_t i = 1; i < std::min(metrics.size(), most_pictures + 1); ++i) {
    pictures += picture(comparison, drawn, metrics.front(), metrics[i]);
  }
  return pictures;
}

}  // namespace memengine
