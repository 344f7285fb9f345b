// Line charts and heat maps as SVG within a page (page.h has their style).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace memengine {

struct ChartPoint {
  double x = 0, y = 0;
};

struct ChartSeries {
  std::string name;        // plain text, for the tooltip
  std::size_t colour = 0;  // page.h: colour_class
  // Ascending in x. A point that is not finite leaves a gap in the line.
  std::vector<ChartPoint> points;
  // Around the line, as many as there are points, or none.
  std::vector<double> low, high;
  bool dots = false;              // a dot at every point, for sparse ones
  std::vector<ChartPoint> marks;  // crosses: events worth a look
  bool dashed = false;            // to tell lines of one colour apart
  std::string label;              // plain text beside the last point, which is then a large dot
  std::string group;              // a further CSS class, a plain word; may be empty
};

struct Chart {
  std::string x_title, y_title;  // plain text
  std::vector<ChartSeries> series;
  bool log_y = false;          // points that are not above 0 are left out
  bool from_zero = false;      // the y axis begins at 0
  std::optional<double> goal;  // a dashed horizontal line
  bool robust = false;         // the y axis spares the first tenth of the x axis's extremes
};

// <svg>, or a paragraph that says there is nothing to draw. Coordinates are rounded to a tenth of
// a pixel of a 480 x 250 picture.
std::string svg_chart(const Chart& chart);

// "12.3k", "1.5e-05", "300": a figure beside an axis.
std::string axis_text(double value);

// Where an axis has its lines: about `count` round numbers within [low, high].
std::vector<double> axis_ticks(double low, double high, int count);

// A picture of `rows` x `columns` cells, each of `shade(row, column)` in [0, 1] (0 is left empty):
// the accent colour in that strength. At most 128 cells a side should be asked for; a cell that
// `title` gives a text for has a tooltip.
std::string svg_heat_map(std::size_t rows, std::size_t columns,
                         const std::function<double(std::size_t, std::size_t)>& shade,
                         const std::function<std::string(std::size_t, std::size_t)>& title = {});

}  // namespace memengine
