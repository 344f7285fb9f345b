// The page of `memory use`.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/memory_probe/pages/pages.h"
#include "engine/report/html.h"
#include "engine/report/page.h"
#include "engine/report/svg.h"

namespace memengine {
namespace {

constexpr std::int64_t layer_cells = 128, head_cells = 48;

std::string percent(double share) {
  return fmt::format("{:.1f}%", 100 * share);
}

std::string number(std::int64_t x) {
  if (x < 1000) return std::to_string(x);
  return number(x / 1000) + fmt::format(",{:03}", x % 1000);
}

std::vector<std::string> figures_row(const std::string& name, const UseFigures& figures,
                                     std::int64_t rows) {
  const auto picks = static_cast<double>(std::max<std::int64_t>(figures.picks, 1));
  return {html_text(name),
          number(figures.distinct),
          percent(static_cast<double>(figures.distinct) / static_cast<double>(rows)),
          fmt::format("{:.2f}", figures.entropy),
          fmt::format("{:.2f}", figures.kl_to_uniform),
          number(figures.dead_first),
          number(figures.dead_second),
          number(rows - figures.distinct),
          percent(static_cast<double>(figures.top_thousandth) / picks)};
}

template <typename Count>
std::string grid_figure(const std::string& name, const std::vector<Count>& counts,
                        std::int64_t n_keys, std::int64_t cells) {
  const UseGrid grid = use_grid(counts, n_keys, cells);
  const std::string scale = grid.keys_per_cell == 1
                                ? " a cell is a row"
                                : fmt::format(" a cell is {0} x {0} rows", grid.keys_per_cell);
  return html_element(
      "figure", {},
      html_element("figcaption", {},
                   html_text(name) + html_element("span", {{"class", "dim"}}, scale)) +
          svg_log_grid(grid.cells, grid.side));
}

std::string overlap_section(const ProbeModel& model, const RowUse& use) {
  const std::vector<UseOverlap> overlaps = use.overlaps();
  if (overlaps.empty()) return "";
  const std::size_t lists = use.memories() * use.heads();
  std::vector<double> common(lists * lists);
  for (const UseOverlap& overlap : overlaps) {
    common[overlap.a * lists + overlap.b] = common[overlap.b * lists + overlap.a] = overlap.picks;
  }
  const auto name = [&](std::size_t list) {
    return fmt::format("{}.{}", model.layers()[list / use.heads()], list % use.heads());
  };
  HtmlTable table;
  table.head = {"layer.head"};
  for (std::size_t b = 0; b < lists; ++b) table.head.push_back(name(b));
  for (std::size_t a = 0; a < lists; ++a) {
    std::vector<std::string> row = {name(a)};
    for (std::size_t b = 0; b < lists; ++b) {
      const double share = common[a * lists + b];
      row.push_back(a == b || share == 0
                        ? ""
                        : html_element("span",
                                       {{"class", "shade"},
                                        {"style", fmt::format("--s:{:.0f}%", 100 * share)}},
                                       fmt::format("{:.2f}", share)));
    }
    table.rows.push_back(row);
  }
  table.numeric.assign(lists + 1, true);
  return html_section("overlap", "Picks in common",
                      html_element("p",
                                   "For two heads that read the same table: the sum over rows of "
                                   "the smaller of their two shares of picks. 1 where they use the "
                                   "rows alike, 0 where they have none in common.") +
                          html_table(table));
}

}  // namespace

std::string svg_log_grid(const std::vector<double>& cells, std::int64_t side) {
  constexpr int strengths = 12;
  double most = 0;
  for (const double x : cells) most = std::max(most, x);
  const auto strength = [&](std::int64_t row, std::int64_t column) {
    const double x = cells[static_cast<std::size_t>(row * side + column)];
    if (!(x > 0)) return 0;
    return std::clamp(static_cast<int>(std::ceil(strengths * std::log1p(x) / std::log1p(most))), 1,
                      strengths);
  };
  std::vector<std::string> paths(strengths + 1);
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side;) {
      const int level = strength(row, column);
      std::int64_t end = column + 1;
      while (end < side && strength(row, end) == level) ++end;
      if (level > 0) {
        paths[static_cast<std::size_t>(level)] +=
            fmt::format("M{} {}h{}v1h-{}z", column, row, end - column, end - column);
      }
      column = end;
    }
  }
  std::string content;
  for (int level = 1; level <= strengths; ++level) {
    const std::string& path = paths[static_cast<std::size_t>(level)];
    if (path.empty()) continue;
    content += html_element(
        "path", {{"d", path}, {"fill-opacity", fmt::format("{:.2f}", level / double{strengths})}},
        "");
  }
  return html_element("svg",
                      {{"xmlns", "http://www.w3.org/2000/svg"},
                       {"viewBox", fmt::format("0 0 {0} {0}", side)},
                       {"shape-rendering", "crispEdges"},
                       {"role", "img"},
                       {"style", "fill:var(--accent);background:var(--bg)"}},
                      content);
}

std::string use_page(const ProbeModel& model, const RowUse& use, const std::string& corpus,
                     std::size_t top) {
  HtmlTable table;
  table.head = {"",
                "rows used",
                "of all",
                "entropy, nats",
                "KL to uniform",
                "dead keys, first half",
                "second half",
                "dead rows",
                "picks of the top 0.1%"};
  table.numeric = {false, true, true, true, true, true, true, true, true};
  HtmlTable most;
  most.head = {"layer", "most used rows, and their picks"};
  std::string grids;
  for (std::size_t m = 0; m < use.memories(); ++m) {
    const std::string name = fmt::format("layer {}", model.layers()[m]);
    const std::vector<std::uint64_t> counts = use.layer_counts(m);
    const UseFigures figures = use_figures(counts, use.n_keys(), top);
    table.rows.push_back(figures_row(name, figures, use.rows()));
    std::string rows;
    for (const auto& [row, count] : figures.top) {
      rows += fmt::format("{}{} ({})", rows.empty() ? "" : ", ", row, number(count));
    }
    most.rows.push_back({std::to_string(model.layers()[m]), rows});
    std::string heads;
    for (std::size_t head = 0; head < use.heads(); ++head) {
      table.rows.push_back(figures_row(fmt::format("{} head {}", name, head),
                                       use_figures(use.counts(m, head), use.n_keys(), top),
                                       use.rows()));
      heads +=
          grid_figure(fmt::format("head {}", head), use.counts(m, head), use.n_keys(), head_cells);
    }
    grids +=
        html_element("h3", name) +
        html_element("div", {{"class", "grids"}},
                     html_element("div", {{"class", "large"}},
                                  grid_figure("all heads", counts, use.n_keys(), layer_cells)) +
                         html_element("div", {{"class", "small"}}, heads));
  }
  HtmlPage page;
  page.title = "Use of the memory: " + model.source().folder.string();
  page.lead = fmt::format(
      "{} tokens of {}; {} picks per token, layer and head; a table of {} rows, {} x {} sub-keys{}",
      number(use.tokens()), corpus, model.config().productkey_args.mem_knn, number(use.rows()),
      use.n_keys(), use.n_keys(),
      model.shares_table() && use.memories() > 1 ? ", shared by all layers" : "");
  page.style =
      ".grids{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:14px;margin:.5em "
      "0 "
      "1.5em;max-width:1150px}.small{display:grid;grid-template-columns:repeat(auto-fill,minmax("
      "150px,1fr));gap:14px;align-content:start}@media(max-width:700px){.grids{grid-template-"
      "columns"
      ":1fr}}td:first-child{white-space:nowrap}.shade{display:block;margin:-5px -11px;padding:5px "
      "11px;background:color-mix(in srgb,"
      "var(--accent) var(--s),transparent)}";
  page.body =
      html_section("figures", "Figures",
                   html_table(table) +
                       html_element("p",
                                    "Entropy and KL are of the picks over the rows: KL 0 where all "
                                    "rows are picked equally often, the log of the number of rows "
                                    "where one takes all. A dead sub-key is in no pick.")) +
      html_section("grid", "The product grid",
                   html_element("p",
                                "Row i1 n + i2 of the table stands at height i1 and at i2 from the "
                                "left. The stronger the colour, the more picks, in log(1 + picks); "
                                "white (dark: black) is never picked.") +
                       grids) +
      html_section("most", "Most used rows", html_table(most)) + overlap_section(model, use);
  return html_page(page);
}

}  // namespace memengine
