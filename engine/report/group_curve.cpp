#include "engine/report/group_curve.h"

#include <algorithm>
#include <cmath>

namespace memengine {
namespace {

std::vector<ChartPoint> points_of(const Curve& curve, RunAxis axis) {
  std::vector<ChartPoint> points;
  for (const CurvePart& part : curve.parts())
    points.push_back({along(part.place, axis), part.mean});
  return points;
}

// At x, which ascends from call to call: `from` is where the last one was found.
double value_at(const std::vector<ChartPoint>& points, double x, std::size_t& from) {
  while (from + 1 < points.size() && points[from + 1].x <= x) ++from;
  const ChartPoint& a = points[from];
  if (a.x >= x || from + 1 == points.size()) return a.y;
  const ChartPoint& b = points[from + 1];
  return a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x);
}

}  // namespace

double along(const RunPlace& place, RunAxis axis) {
  switch (axis) {
    case RunAxis::step:
      return place.step;
    case RunAxis::tokens:
      return place.tokens;
    case RunAxis::seconds:
      return place.seconds;
    case RunAxis::flops:
      return place.flops;
  }
  return 0;
}

ChartSeries group_curve(const RunGroup& group, const std::string& key, RunAxis axis) {
  ChartSeries series;
  series.name = group.title;
  std::vector<std::vector<ChartPoint>> curves;
  for (const RunRecord* record : group.runs) {
    const Curve* curve = record->curve(key);
    if (curve == nullptr || curve->parts().empty()) continue;
    curves.push_back(points_of(*curve, axis));
  }
  if (curves.empty()) return series;
  if (curves.size() == 1) {
    series.points = std::move(curves.front());
    return series;
  }
  double begin = -INFINITY, end = INFINITY;
  for (const auto& points : curves) {
    begin = std::max(begin, points.front().x);
    end = std::min(end, points.back().x);
  }
  std::vector<std::size_t> from(curves.size(), 0);
  std::vector<double> places;
  for (const ChartPoint& point : curves.front()) {
    if (point.x > begin && point.x < end) places.push_back(point.x);
  }
  places.insert(places.begin(), begin);
  if (end > begin) places.push_back(end);
  for (const double x : places) {
    std::vector<double> values;
    bool whole = true;
    for (std::size_t i = 0; i < curves.size(); ++i) {
      values.push_back(value_at(curves[i], x, from[i]));
      whole = whole && std::isfinite(values.back());
    }
    const Figure figure = figure_of(values);
    // A mean over other runs than beside it would be a step that none of them made.
    series.points.push_back({x, whole ? figure.mean : std::nan("")});
    series.low.push_back(figure.mean - figure.error);
    series.high.push_back(figure.mean + figure.error);
  }
  return series;
}

}  // namespace memengine
