#include "engine/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/report/html.h"
#include "engine/report/page.h"
#include "io/text/one_line.h"

namespace memengine {
namespace {

constexpr double picture_width = 480, picture_height = 250;
constexpr double left = 58, right = 14, top = 8, bottom = 40;

// A coordinate with at most one decimal.
std::string at(double pixel) {
  std::string text = fmt::format("{:.1f}", pixel);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

class Scales {
 public:
  Scales(const Chart& chart, Range x, Range y) : log_(chart.log_y), x_(x), y_(y) {
    if (x_.low == x_.high) x_.high = x_.low + std::max(1.0, std::abs(x_.low));
    if (log_) y_ = {std::log10(y_.low), std::log10(y_.high)};
    const double span = y_.high - y_.low;
    const double air = span > 0 ? 0.05 * span : std::max(std::abs(y_.low) * 0.05, 1e-12);
    y_.high += air;
    if (!chart.from_zero || log_) y_.low -= air;
  }
  double x(double value) const {
    return left + (value - x_.low) / (x_.high - x_.low) * (picture_width - left - right);
  }
  // Far outside the picture is as good as the edge of it.
  double y(double value) const {
    const double place = ((log_ ? std::log10(value) : value) - y_.low) / (y_.high - y_.low);
    return picture_height - bottom - std::clamp(place, -0.5, 1.5) * (picture_height - top - bottom);
  }
  bool shown(const ChartPoint& point) const {
    return std::isfinite(point.x) && std::isfinite(point.y) && (!log_ || point.y > 0);
  }
  std::vector<double> x_ticks() const { return axis_ticks(x_.low, x_.high, 6); }
  std::vector<double> y_ticks() const {
    if (!log_) return axis_ticks(y_.low, y_.high, 5);
    std::vector<double> ticks;
    for (double decade = std::floor(y_.low); decade <= y_.high; ++decade) {
      for (const double step : {1.0, 2.0, 5.0}) {
        const double tick = std::log10(step) + decade;
        if (tick < y_.low || tick > y_.high) continue;
        if (step != 1 && y_.high - y_.low > 2.5) continue;
        ticks.push_back(std::pow(10, tick));
      }
    }
    return ticks.size() > 1 ? ticks : axis_ticks(std::pow(10, y_.low), std::pow(10, y_.high), 5);
  }

 private:
  bool log_;
  Range x_, y_;
};

std::string line_of(const ChartSeries& series, const Scales& scales) {
  std::string path;
  bool pen_down = false;
  for (const ChartPoint& point : series.points) {
    const bool shown = scales.shown(point);
    if (shown) {
      path += fmt::format("{}{} {}", pen_down ? "L" : "M", at(scales.x(point.x)),
                          at(scales.y(point.y)));
    }
    pen_down = shown;
  }
  return path;
}

std::string band_of(const ChartSeries& series, const Scales& scales) {
  std::string there, back;
  for (std::size_t i = 0; i < series.points.size() && i < series.low.size(); ++i) {
    const double x = series.points[i].x;
    if (!scales.shown({x, series.low[i]}) || !scales.shown({x, series.high[i]})) continue;
    there += fmt::format("{}{} {}", there.empty() ? "M" : "L", at(scales.x(x)),
                         at(scales.y(series.high[i])));
    back.insert(0, fmt::format("L{} {}", at(scales.x(x)), at(scales.y(series.low[i]))));
  }
  return there.empty() ? "" : there + back + "Z";
}

// Texts beside points, each moved up or down by up to two lines until it covers no labelled point
// and no text before it; left out where that does not help, as the point has a tooltip.
class Labels {
 public:
  void keep_clear(double x, double y) { places_.push_back({x - 5, y, 10}); }
  std::string beside(double x, double y, const std::string& text) {
    constexpr double letter = 6.2, height = 12, away = 7;
    const std::string shown = one_line(text, 40);
    const double width = letter * static_cast<double>(shown.size());
    const bool before = x + away + width > picture_width && x - away - width > left;
    const double from = before ? x - away - width : x + away;
    double middle = y;
    for (const double lines : {0, 1, -1, 2, -2}) {
      middle = y + lines * height;
      const bool inside = middle > top + 4 && middle < picture_height - bottom;
      if ((inside || lines == 0) && !covers(from, middle, width, height)) break;
      middle = std::numeric_limits<double>::infinity();
    }
    if (!std::isfinite(middle)) return "";
    places_.push_back({from, middle, width});
    return fmt::format("<text class=\"label\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>",
                       at(before ? x - away : x + away), at(middle + 4), before ? "end" : "start",
                       html_text(shown));
  }

 private:
  struct Place {
    double from, middle, width;
  };
  bool covers(double from, double middle, double width, double height) const {
    return std::any_of(places_.begin(), places_.end(), [&](const Place& place) {
      return std::abs(place.middle - middle) < height && from < place.from + place.width &&
             place.from < from + width;
    });
  }
  std::vector<Place> places_;
};

std::string draw(const ChartSeries& series, const Scales& scales, Labels& labels) {
  std::string html = html_element("title", series.name);
  if (series.low.size() == series.points.size() && !series.low.empty()) {
    html += html_element("path", {{"class", "band"}, {"d", band_of(series, scales)}}, "");
  }
  const std::string line = line_of(series, scales);
  if (!line.empty()) {
    html += series.dashed
                ? html_element("path",
                               {{"class", "curve"}, {"d", line}, {"stroke-dasharray", "7 3"}}, "")
                : html_element("path", {{"class", "curve"}, {"d", line}}, "");
  }
  const auto shown = std::count_if(series.points.begin(), series.points.end(),
                                   [&](const ChartPoint& point) { return scales.shown(point); });
  if (series.dots || shown == 1) {
    for (const ChartPoint& point : series.points) {
      if (!scales.shown(point)) continue;
      html += fmt::format("<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"3\"/>",
                          at(scales.x(point.x)), at(scales.y(point.y)));
    }
  }
  if (!series.label.empty() && !series.points.empty() && scales.shown(series.points.back())) {
    const double x = scales.x(series.points.back().x), y = scales.y(series.points.back().y);
    html += fmt::format("<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"5\"/>", at(x), at(y)) +
            labels.beside(x, y, series.label);
  }
  for (const ChartPoint& mark : series.marks) {
    if (!scales.shown(mark)) continue;
    const double x = scales.x(mark.x), y = scales.y(mark.y);
    html += fmt::format("<path class=\"mark\" d=\"M{0} {1}L{2} {3}M{0} {3}L{2} {1}\"/>", at(x - 4),
                        at(y - 4), at(x + 4), at(y + 4));
  }
  return html_element("g", {{"class", colour_class(series.colour) + " " + series.group}}, html);
}

// What the axes span.
void measure(const Chart& chart, Range& x, Range& y) {
  for (const ChartSeries& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (std::isfinite(point.y) && (!chart.log_y || point.y > 0)) x.add(point.x);
    }
  }
  for (const ChartSeries& series : chart.series) {
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      const ChartPoint& point = series.points[i];
      const bool start =
          chart.robust && series.points.size() > 4 && point.x < x.low + 0.1 * (x.high - x.low);
      if (start || (chart.log_y && !(point.y > 0))) continue;
      y.add(point.y);
      if (i < series.low.size() && (!chart.log_y || series.low[i] > 0)) {
        y.add(series.low[i]);
        y.add(series.high[i]);
      }
    }
  }
  if (chart.goal && !y.empty() && (!chart.log_y || *chart.goal > 0)) y.add(*chart.goal);
  if (chart.from_zero && !chart.log_y && !y.empty()) y.add(0);
}

}  // namespace

std::string axis_text(double value) {
  const double size = std::abs(value);
  std::string text;
  if (size == 0) return "0";
  if (size >= 1e15 || size < 1e-3) {
    text = fmt::format("{:.3g}", value);
  } else if (size >= 1e12) {
    text = fmt::format("{:.4g}T", value / 1e12);
  } else if (size >= 1e9) {
    text = fmt::format("{:.4g}G", value / 1e9);
  } else if (size >= 1e6) {
    text = fmt::format("{:.4g}M", value / 1e6);
  } else if (size >= 1e4) {
    text = fmt::format("{:.4g}k", value / 1e3);
  } else {
    text = fmt::format("{:.4g}", value);
  }
  return text;
}

std::vector<double> axis_ticks(double low, double high, int count) {
  std::vector<double> ticks;
  const double span = high - low;
  if (!(span > 0) || !std::isfinite(span)) return {low};
  const double raw = span / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) {
      step = factor * power;
      break;
    }
  }
  const double first = std::ceil(low / step - 1e-9);
  for (int i = 0; i < 3 * count + 3; ++i) {
    const double tick = (first + i) * step;
    if (tick > high + 1e-9 * span) break;
    ticks.push_back(std::abs(tick) < 1e-9 * span ? 0 : tick);
  }
  return ticks;
}

std::string svg_chart(const Chart& chart) {
  Range x, y;
  measure(chart, x, y);
  if (x.empty() || y.empty()) return "<p class=\"dim\">no finite values</p>";
  const Scales scales(chart, x, y);
  const double floor = picture_height - bottom;
  std::string axes;
  for (const double tick : scales.y_ticks()) {
    const double pixel = scales.y(tick);
    if (pixel > floor + 1 || pixel < top - 1) continue;
    axes += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>"
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        left, picture_width - right, at(pixel), at(pixel), left - 6, at(pixel + 4),
        axis_text(tick));
  }
  for (const double tick : scales.x_ticks()) {
    const double pixel = scales.x(tick);
    const bool at_the_edge = pixel > picture_width - 24;  // half a label: it would be cut
    axes += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>",
                        at_the_edge ? at(picture_width) : at(pixel), floor + 16,
                        at_the_edge ? "end" : "middle", axis_text(tick));
  }
  axes += fmt::format("<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", left,
                      picture_width - right, floor, floor);
  axes +=
      fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                  (left + picture_width - right) / 2, picture_height - 6, html_text(chart.x_title));
  std::string lines;
  if (chart.goal && (!chart.log_y || *chart.goal > 0)) {
    const std::string pixel = at(scales.y(*chart.goal));
    lines += fmt::format("<line class=\"goal\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>", left,
                         picture_width - right, pixel, pixel);
  }
  Labels labels;
  for (const ChartSeries& series : chart.series) {
    if (series.label.empty() || series.points.empty()) continue;
    const ChartPoint& end = series.points.back();
    if (scales.shown(end)) labels.keep_clear(scales.x(end.x), scales.y(end.y));
  }
  for (const ChartSeries& series : chart.series) lines += draw(series, scales, labels);
  return html_element("svg",
                      {{"xmlns", "http://www.w3.org/2000/svg"},
                       {"viewBox", fmt::format("0 0 {} {}", picture_width, picture_height)},
                       {"role", "img"},
                       {"aria-label", chart.y_title + " against " + chart.x_title}},
                      axes + lines);
}

std::string svg_heat_map(std::size_t rows, std::size_t columns,
                         const std::function<double(std::size_t, std::size_t)>& shade,
                         const std::function<std::string(std::size_t, std::size_t)>& title) {
  std::string cells;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < columns; ++column) {
      const double strength = shade(row, column);
      if (!(strength > 0)) continue;
      const std::string words = title ? title(row, column) : "";
      cells +=
          fmt::format("<rect x=\"{}\" y=\"{}\" width=\"1\" height=\"1\" fill-opacity=\"{:.2g}\"",
                      column, row, std::min(strength, 1.0));
      cells += words.empty() ? "/>" : ">" + html_element("title", words) + "</rect>";
    }
  }
  return html_element("svg",
                      {{"xmlns", "http://www.w3.org/2000/svg"},
                       {"viewBox", fmt::format("0 0 {} {}", columns, rows)},
                       {"shape-rendering", "crispEdges"},
                       {"role", "img"},
                       {"style", "fill:var(--accent);background:var(--bg)"}},
                      cells);
}

}  // namespace memengine
