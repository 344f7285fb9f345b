#include "engine/report/report_notes.h"

#include <fmt/format.h>

#include "engine/report/html.h"
#include "engine/report/page.h"

namespace memengine {

std::string report_notes(const Comparison& comparison) {
  std::string items;
  for (const RunGroup& group : comparison.groups) {
    for (const RunRecord* record : group.runs) {
      const auto say = [&](const std::string& text) {
        items += html_element("li", record->folder.string() + ": " + text);
      };
      if (record->damaged_lines > 0) {
        say(fmt::format("{} damaged lines of metrics.jsonl are left out", record->damaged_lines));
      }
      if (record->damaged_config) say("its config.yaml cannot be read");
      const Curve* loss = record->curve("loss/out");
      if (loss != nullptr && loss->not_finite() > 0) {
        say(fmt::format("{} training losses are not finite", loss->not_finite()));
      }
      if (record->total_steps > record->end.step) {
        say(fmt::format("at step {} of {}", record->end.step, record->total_steps));
      }
    }
  }
  std::string html;
  if (!items.empty()) html += html_element("ul", {}, items);
  html +=
      "<p class=\"dim\">Seconds are those of training steps, without validation and saving. "
      "FLOPs are the model's (README), at the speed that metrics.jsonl tells. Long curves are "
      "drawn as means of neighbouring lines; figures are of all lines. Crosses are updates that "
      "spiked or were skipped.</p>";
  return html_section("notes", "Notes", html);
}

}  // namespace memengine
