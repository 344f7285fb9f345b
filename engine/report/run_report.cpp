// The page, top to bottom: figures, losses against four axes, what it took to reach a loss, what
// differs, then the other curves, each only where some run has it.
#include "engine/report/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <span>

#include "engine/report/group_curve.h"
#include "engine/report/html.h"
#include "engine/report/page.h"
#include "engine/report/report_notes.h"
#include "engine/report/svg.h"
#include "engine/report/trade_off/trade_off.h"
#include "engine/run/run_lines.h"

namespace memengine {
namespace {

struct Axis {
  RunAxis axis;
  const char* id;
  const char* title;
};
constexpr Axis axes[] = {{RunAxis::step, "steps", "steps"},
                         {RunAxis::tokens, "tokens", "tokens"},
                         {RunAxis::seconds, "seconds", "seconds of training"},
                         {RunAxis::flops, "flops", "training FLOPs"}};

constexpr const char* style = R"css(
.axes>input{position:absolute;opacity:0}.axes>label{display:inline-block;padding:3px 12px;margin:0 4px 8px 0;border:1px solid var(--line);border-radius:14px;cursor:pointer}
.axes>input:checked+label{background:var(--accent);border-color:var(--accent);color:var(--bg)}.axes>input:focus-visible+label{outline:2px solid var(--fg)}
.axes>.panel{display:none}
#x-steps:checked~.steps,#x-tokens:checked~.tokens,#x-seconds:checked~.seconds,#x-flops:checked~.flops{display:grid}
.legend button{font:inherit;color:inherit;background:none;border:0;padding:2px 0;cursor:pointer;text-align:left;overflow-wrap:anywhere}
.legend button[aria-pressed=false]{opacity:.4;text-decoration:line-through}
svg .off{display:none}
@media print{.axes>input,.axes>label{display:none}}
)css";

// A click on a name takes its lines away, or brings them back.
constexpr const char* script =
    "document.querySelectorAll('.legend button').forEach(b=>b.onclick=()=>{"
    "const on=b.getAttribute('aria-pressed')=='false';b.setAttribute('aria-pressed',on);"
    "document.querySelectorAll('svg .'+b.value).forEach(g=>g.classList.toggle('off',!on))})";

class Report {
 public:
  explicit Report(const Comparison& comparison) : comparison_(comparison) {
    for (const RunGroup& group : comparison.groups) {
      for (const RunRecord* record : group.runs) {
        for (const auto& [key, curve] : record->curves) keys_.insert(key);
      }
    }
    choose_drawn();
  }

  std::string page() const {
    HtmlPage page;
    const auto& groups = comparison_.groups;
    const std::size_t runs = std::accumulate(
        groups.begin(), groups.end(), std::size_t{0},
        [](std::size_t sum, const RunGroup& group) { return sum + group.runs.size(); });
    page.title = runs == 1 ? groups.front().title : fmt::format("{} runs compared", runs);
    page.lead = lead(runs);
    page.style = style;
    page.script = script;
    page.body =
        legend() + html_section("figures", "Final figures", figures()) + results() +
        section("cost", "What it came to, for what it took", cost_charts(comparison_, drawn_)) +
        section("trade-off", "One result against another", trade_off_charts(comparison_, drawn_)) +
        html_section("losses", evaluations(axes[0]).empty() ? "Loss" : "Loss and evaluation",
                     losses()) +
        target() + differences() + section("optimisation", "Optimisation", optimisation()) +
        section("speed", "Speed", speed()) + section("memory", "Use of the memory", memory()) +
        report_notes(comparison_);
    return html_page(page);
  }

 private:
  std::string lead(std::size_t runs) const {
    if (runs == 1) {
      const RunRecord& run = *comparison_.groups.front().runs.front();
      std::string text = fmt::format("{} steps", count_text(run.end.step));
      if (run.total_steps > run.end.step)
        text += fmt::format(" of {}", count_text(run.total_steps));
      return text + fmt::format(", {} tokens, {} of training; {}", count_text(run.end.tokens),
                                duration_text(run.end.seconds), run.folder.string());
    }
    const std::size_t groups = comparison_.groups.size();
    if (groups == runs) return "";
    return fmt::format(
        "{} lines; runs that differ in their seed alone are one line: mean ± standard error.",
        groups);
  }

  // Those of the lowest loss, in the order of the rows, which is that of the colours.
  void choose_drawn() {
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t g = 0; g < comparison_.groups.size(); ++g) {
      const RunRecord& run = *comparison_.groups[g].runs.front();
      const Curve* curve = run.curve(comparison_.by_validation ? "val/loss" : "loss/out");
      const double loss = curve == nullptr ? INFINITY : curve->last();
      order.emplace_back(std::isfinite(loss) ? loss : INFINITY, g);
    }
    std::stable_sort(order.begin(), order.end());
    if (order.size() > most_drawn) order.resize(most_drawn);
    for (const auto& [loss, group] : order) drawn_.push_back(group);
    std::sort(drawn_.begin(), drawn_.end());
  }

  std::string legend() const {
    std::string items;
    for (std::size_t i = 0; i < drawn_.size(); ++i) {
      const RunGroup& group = comparison_.groups[drawn_[i]];
      std::string text = html_swatch(i) + html_text(group.title);
      if (i >= 8) text += html_element("span", {{"class", "dim"}}, " dashed");
      if (group.runs.size() > 1) {
        text +=
            html_element("span", {{"class", "dim"}}, fmt::format(" {} seeds", group.runs.size()));
      }
      items += html_element("li", {},
                            html_element("button",
                                         {{"type", "button"},
                                          {"value", fmt::format("g{}", drawn_[i])},
                                          {"aria-pressed", "true"}},
                                         text));
    }
    std::string html = html_element("ul", {{"class", "legend"}}, items) + "\n";
    if (drawn_.size() < comparison_.groups.size()) {
      html += html_element("p", {{"class", "dim"}},
                           fmt::format("Drawn are the {} lines of the lowest loss; the tables have "
                                       "all {}.",
                                       drawn_.size(), comparison_.groups.size()));
    }
    return html;
  }

  std::string group_name(std::size_t g) const {
    const auto at = std::find(drawn_.begin(), drawn_.end(), g);
    const std::string title = html_text(comparison_.groups[g].title);
    return at == drawn_.end() ? title
                              : html_swatch(static_cast<std::size_t>(at - drawn_.begin())) + title;
  }

  // The columns that `wanted` holds for, with the best in bold; so many a table as paper has room
  // for.
  template <typename Wanted>
  std::string table(Wanted wanted) const {
    constexpr std::size_t most_columns = 9;
    std::vector<std::size_t> columns;
    for (std::size_t c = 0; c < comparison_.columns.size(); ++c) {
      if (wanted(comparison_.columns[c])) columns.push_back(c);
    }
    const std::size_t tables = (columns.size() + most_columns - 1) / most_columns;
    std::string html;
    for (std::size_t t = 0; t < tables; ++t) {
      const std::size_t first = columns.size() * t / tables;
      const std::size_t last = columns.size() * (t + 1) / tables;
      html += part_of_table(std::span(columns).subspan(first, last - first));
    }
    return html;
  }

  std::string part_of_table(std::span<const std::size_t> columns) const {
    HtmlTable table;
    table.head = {"run"};
    table.numeric = {false};
    for (std::size_t g = 0; g < comparison_.groups.size(); ++g) {
      table.rows.push_back({group_name(g)});
    }
    for (const std::size_t c : columns) {
      const ComparisonColumn& column = comparison_.columns[c];
      table.head.push_back(html_text(column.title));
      table.numeric.push_back(true);
      const int best = best_group(comparison_, c);
      for (std::size_t g = 0; g < comparison_.groups.size(); ++g) {
        const std::string text = html_text(
            figure_text(comparison_.figures[g][c], column.form, comparison_.groups[g].runs.size()));
        table.rows[g].push_back(best == static_cast<int>(g) ? "<b>" + text + "</b>" : text);
      }
    }
    return html_table(table);
  }

  std::string figures() const {
    return table([](const ComparisonColumn& column) {
      return !column.key.starts_with("to_") && column.key.find('/') == column.key.npos;
    });
  }

  std::string results() const {
    const std::string html = table(
        [](const ComparisonColumn& column) { return column.key.find('/') != column.key.npos; });
    return html.empty() ? "" : html_section("results", "Evaluation results", html);
  }

  std::string target() const {
    if (!(comparison_.target > 0)) return "";
    std::string html =
        table([](const ComparisonColumn& column) { return column.key.starts_with("to_"); });
    if (html.empty()) html = "<p>No run reached it.</p>";
    return html_section(
        "target",
        fmt::format("To a {} loss of {:.4g}", comparison_.by_validation ? "validation" : "training",
                    comparison_.target),
        html + "<p class=\"dim\">Ratios are to the least of the column.</p>");
  }

  std::string differences() const {
    if (comparison_.differences.empty()) return "";
    HtmlTable table;
    table.head = {"run"};
    for (std::size_t g = 0; g < comparison_.groups.size(); ++g) {
      table.rows.push_back({group_name(g)});
    }
    for (const auto& [key, values] : comparison_.differences) {
      table.head.push_back(html_element("code", key));
      for (std::size_t g = 0; g < values.size(); ++g) table.rows[g].push_back(html_text(values[g]));
    }
    return html_section("differences", "Where the configs differ", html_table(table));
  }

  // "" where no run has any of it.
  std::string figure(const std::string& title, const std::string& key, const Axis& axis,
                     Chart chart, bool with_events = false) const {
    if (keys_.find(key) == keys_.end()) return "";
    chart.x_title = axis.title;
    chart.y_title = title;
    for (std::size_t i = 0; i < drawn_.size(); ++i) {
      const RunGroup& group = comparison_.groups[drawn_[i]];
      ChartSeries series = group_curve(group, key, axis.axis);
      if (series.points.empty()) continue;
      series.colour = i;
      series.dashed = i >= 8;
      series.group = fmt::format("g{}", drawn_[i]);
      series.dots = series.points.size() <= 12;
      if (with_events) add_marks(series, group, axis.axis);
      chart.series.push_back(std::move(series));
    }
    return html_element("figure", {},
                        html_element("figcaption", {},
                                     html_text(title) + " " +
                                         html_element("span", {{"class", "dim"}}, html_text(key))) +
                            svg_chart(chart));
  }

  static void add_marks(ChartSeries& series, const RunGroup& group, RunAxis axis) {
    for (const RunRecord* record : group.runs) {
      for (const RunEvent& event : record->events) {
        double y = event.gradient_norm;
        // A norm that is no number is marked on the line.
        const double x = along(event.place, axis);
        for (std::size_t i = 0; !std::isfinite(y) && i < series.points.size(); ++i) {
          if (series.points[i].x >= x && std::isfinite(series.points[i].y)) y = series.points[i].y;
        }
        series.marks.push_back({x, y});
      }
    }
  }

  std::string losses() const {
    std::string controls, panels;
    for (const Axis& axis : axes) {
      Chart chart;
      chart.robust = true;
      if (comparison_.target > 0) chart.goal = comparison_.target;
      const std::string pictures = figure("Validation loss", "val/loss", axis, chart) +
                                   figure("Training loss", "loss/out", axis, chart) +
                                   evaluations(axis);
      if (pictures.empty()) return "<p class=\"dim\">no losses</p>";
      const std::string id = fmt::format("x-{}", axis.id);
      controls += fmt::format("<input type=\"radio\" name=\"x\" id=\"{}\"{}/>", id,
                              axis.axis == RunAxis::step ? " checked=\"checked\"" : "");
      controls += html_element("label", {{"for", id}}, html_text(axis.title));
      panels += html_element("div", {{"class", fmt::format("panel charts {}", axis.id)}}, pictures);
    }
    return html_element("div", {{"class", "axes"}}, controls + panels);
  }

  // The first metric of each task that was asked more than once.
  std::string evaluations(const Axis& axis) const {
    constexpr int most = 12;
    std::string pictures;
    int count = 0;
    for (const std::string& key : keys_) {
      if (!key.starts_with("eval/") || !is_curve(key)) continue;
      if (++count > most) break;
      pictures += figure("Evaluation: " + key.substr(5), key, axis, {});
    }
    return pictures;
  }

  bool is_curve(const std::string& key) const {
    for (const RunGroup& group : comparison_.groups) {
      for (const RunRecord* record : group.runs) {
        const Curve* curve = record->curve(key);
        if (curve != nullptr && curve->lines() > 1) return true;
      }
    }
    return false;
  }

  static std::string section(const char* id, const char* title, const std::string& pictures) {
    if (pictures.empty()) return "";
    return html_section(id, title, html_element("div", {{"class", "charts"}}, pictures));
  }

  std::string optimisation() const {
    Chart logarithmic;
    logarithmic.log_y = true;
    return figure("Learning rate", "optim/lr", axes[0], {}) +
           figure("Learning rate of the values", "optim/value_lr", axes[0], {}) +
           figure("Gradient norm", "optim/grad_norm", axes[0], logarithmic, true) +
           figure("Gradient norm of the values", "optim/value_grad_norm", axes[0], logarithmic);
  }

  std::string speed() const {
    Chart from_zero;
    from_zero.from_zero = true;
    from_zero.robust = true;
    return figure("Tokens per second", "speed/wps", axes[0], from_zero) +
           figure("Share of attainable speed", "speed/attainable_share", axes[0], from_zero) +
           figure("Seconds per step waiting for data", "speed/data_load_time", axes[0], from_zero);
  }

  // All figures of use, also those of single tables and such as came later than this page.
  std::string memory() const {
    static const std::map<std::string, std::string> titles = {
        {"unique_rows", "Distinct rows of a step"},
        {"unique_share", "Distinct rows as a share of picks"},
        {"rows_ever_used", "Rows ever used"},
        {"ever_used_share", "Share of rows ever used"},
        {"usage_kl", "KL to uniform use, nats"}};
    std::string pictures;
    int count = 0;
    for (const std::string& key : keys_) {
      const bool validation = key.starts_with("val/pkm/");
      if (!validation && !key.starts_with("pkm/") && !key.starts_with("cache/") &&
          !key.starts_with("link/")) {
        continue;
      }
      if (++count > 60) break;
      const std::string name = key.substr(key.rfind('/') + 1);
      const auto title = titles.find(name);
      std::string words = title == titles.end() ? name : title->second;
      std::replace(words.begin(), words.end(), '_', ' ');
      const std::size_t first = key.find("pkm/");
      if (first != key.npos && first + 4 + name.size() < key.size()) {
        words += ", " + table_title(key.substr(first + 4, key.size() - first - 5 - name.size()));
      }
      if (validation) words += ", held-out";
      Chart chart;
      chart.from_zero = true;
      pictures += figure(words, key, axes[0], chart);
    }
    return pictures;
  }

  const Comparison& comparison_;
  std::set<std::string> keys_;
  std::vector<std::size_t> drawn_;
};

}  // namespace

std::string report_html(const Comparison& comparison) {
  return Report(comparison).page();
}

std::size_t drawn_points(std::size_t runs) {
  return std::clamp<std::size_t>(20000 / std::max<std::size_t>(runs, 1), 60, 500);
}

}  // namespace memengine
