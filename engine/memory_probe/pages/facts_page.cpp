// The page of `memory facts`: bars with their standard errors.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/memory_probe/pages/pages.h"
#include "engine/report/html.h"
#include "engine/report/page.h"

namespace memengine {
namespace {

constexpr std::array<const char*, 3> group_names = {
    "this fact's questions", "the person's other facts", "other people's facts"};

const char* explanation(const std::string& arm) {
  if (arm == "answer") return "rows that the fact's paraphrases share where the value is predicted";
  if (arm == "specific") return "of those, the ones that few other questions read";
  if (arm == "name") return "rows read at the end of the person's name";
  return "as many other rows, read as often";
}

std::array<const FactGroup*, 3> groups_of(const FactArm& arm) {
  return {&arm.own, &arm.person, &arm.others};
}

// Three bars an arm, arms one below the other.
std::string bars(const FactStudy& study) {
  constexpr double left = 130, width = 640, bar = 13, gap = 18;
  double most = 0.01;
  for (const FactArm& arm : study.arms) {
    for (const FactGroup* group : groups_of(arm)) {
      most = std::max(most, group->share_lost + group->share_error);
    }
  }
  const auto x = [&](double share) { return left + share / most * (width - left - 60); };
  std::string content;
  double y = 4;
  for (const FactArm& arm : study.arms) {
    content += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", left - 8,
                           y + 1.5 * bar + 4, html_text(arm.name));
    for (std::size_t g = 0; g < group_names.size(); ++g) {
      const FactGroup& group = *groups_of(arm)[g];
      const std::string title =
          fmt::format("{}, {}: {} of {} lost", arm.name, group_names[g], group.lost, group.asked);
      content += html_element(
          "g", {{"class", colour_class(g)}},
          html_element("title", title) +
              fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" "
                          "style=\"fill:var(--c)\"/>",
                          left, y, std::max(x(group.share_lost) - left, 0.5), bar - 2) +
              fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" style=\"stroke:var(--fg)\"/>",
                          x(std::max(group.share_lost - group.share_error, 0.0)), y + bar / 2 - 1,
                          x(group.share_lost + group.share_error)) +
              fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{:.1f}%</text>",
                          x(group.share_lost + group.share_error) + 6, y + bar - 3,
                          100 * group.share_lost));
      y += bar;
    }
    y += gap;
  }
  std::string legend;
  for (std::size_t g = 0; g < group_names.size(); ++g) {
    legend += html_element("li", {}, html_swatch(g) + html_text(group_names[g]));
  }
  return html_element(
      "figure", {{"style", "max-width:820px"}},
      html_element("figcaption", "Questions that become unanswerable when rows are silenced") +
          html_element("ul", {{"class", "legend"}}, legend) +
          html_element("svg",
                       {{"xmlns", "http://www.w3.org/2000/svg"},
                        {"viewBox", fmt::format("0 0 {} {}", width, y)},
                        {"role", "img"}},
                       content));
}

}  // namespace

std::string facts_page(const ProbeModel& model, const FactStudy& study,
                       const FactsOptions& options) {
  HtmlTable table;
  table.head = {"silenced", "what", "rows", "share of all picks"};
  table.numeric = {false, false, true, true};
  for (const char* name : group_names) {
    table.head.push_back(fmt::format("{}: lost", name));
    table.head.push_back("log p, nats");
    table.numeric.insert(table.numeric.end(), {true, true});
  }
  for (const FactArm& arm : study.arms) {
    std::vector<std::string> row = {html_text(arm.name), html_text(explanation(arm.name)),
                                    fmt::format("{:.1f}", arm.rows),
                                    fmt::format("{:.2f}%", 100 * arm.share_of_reads)};
    for (const FactGroup* group : groups_of(arm)) {
      row.push_back(fmt::format("{:.1f}% \xC2\xB1 {:.1f} ({} of {})", 100 * group->share_lost,
                                100 * group->share_error, group->lost, group->asked));
      row.push_back(fmt::format("{:+.2f}", group->log_probability));
    }
    table.rows.push_back(row);
  }
  HtmlPage page;
  page.title = "Do the rows that a person's sentences read hold that person's facts?";
  page.lead = fmt::format(
      "{}; {} synthetic people, {} passages each; the whole model answers {} of {} questions; {} "
      "of "
      "these facts were studied.",
      model.source().folder.string(), options.people, options.passages, study.answered,
      study.questions, study.facts);
  page.body =
      bars(study) +
      html_section(
          "how", "How it was measured",
          html_element(
              "p", fmt::format(
                       "For each fact the rows that at least {:.0f}% of its paraphrases read "
                       "where they predict the value are silenced (answer), or those of them "
                       "that at most {:.0f}% of the other questions read (specific), or the rows "
                       "read at the end of the person's name (name). A control silences as many "
                       "other rows that all questions together read as often. Only questions "
                       "that the whole model answers are asked again. Bars are means over the "
                       "facts, lines their standard errors.",
                       100 * options.share, 100 * options.common)) +
              html_element("p", fmt::format("Silencing nothing changed {} answers.",
                                            study.answers_changed)) +
              html_table(table));
  return html_page(page);
}

}  // namespace memengine
