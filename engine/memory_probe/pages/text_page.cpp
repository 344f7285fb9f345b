// The page of `memory text`. What a click shows is in the page already, and the browser finds it by
// its address; the script only marks a row's readers in the text.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "engine/memory_probe/pages/pages.h"
#include "engine/report/html.h"
#include "engine/report/page.h"

namespace memengine {
namespace {

constexpr const char* style = R"css(
.text{font-size:1.15rem;line-height:2.1;max-width:72ch;background:var(--box);border:1px solid var(--line);border-radius:6px;padding:12px 16px;overflow-wrap:anywhere}
.text a,.scale span{color:inherit;text-decoration:none;padding:2px 0;border-radius:3px;white-space:pre-wrap;background:color-mix(in srgb,var(--s1) calc(var(--s,0%)*.55),transparent);border-bottom:2px solid transparent}
.text a:hover,.text a:focus{outline:2px solid var(--accent)}.text a.hit{border-bottom-color:var(--s2);outline:2px solid var(--s2)}
.scale span{padding:2px 9px;font-size:.85rem}
.panel{display:none;margin:1em 0;scroll-margin-top:8em}.panel:target{display:block}
.start{margin-top:1em}.panel:target~.start{display:none}
.rows a{white-space:nowrap;margin-right:1em}
@media print{.panel{display:none!important}}
)css";

constexpr const char* script =
    "function mark(){document.querySelectorAll('.hit').forEach(e=>e.classList.remove('hit'));"
    "if(location.hash.startsWith('#r'))document.querySelectorAll(location.hash+' a').forEach("
    "a=>document.getElementById('w'+a.hash.slice(2)).classList.add('hit'));"
    "if(location.hash.startsWith('#t'))document.getElementById('w'+location.hash.slice(2))"
    ".classList.add('hit')}addEventListener('hashchange',mark);mark()";

// A token's words, so that blanks and line feeds can be seen.
std::string visible(const std::string& piece) {
  std::string text;
  for (const char c : piece) text += c == '\n' ? "\xE2\x8F\x8E\n" : std::string(1, c);
  return text.empty() ? "\xC2\xB7" : text;
}

// Tables' rows that panels exist for, and the tokens that read them, by their greatest weight.
using Readers = std::map<std::pair<std::size_t, std::int64_t>, std::map<std::size_t, float>>;

std::size_t table_of(const ProbeModel& model, std::size_t memory) {
  return model.shares_table() ? 0 : memory;
}

std::string row_name(std::size_t table, std::int64_t row) {
  return fmt::format("r{}-{}", table, row);
}

std::string token_panel(const ProbeModel& model, const TextProbe& probe, std::size_t place,
                        std::size_t top) {
  const auto heads = static_cast<std::size_t>(model.heads());
  const TextToken& token = probe.tokens[place];
  HtmlTable table;
  table.head = {"layer", "head", "strongest rows, and their weights"};
  for (std::size_t list = 0; list < token.picks.size(); ++list) {
    std::string rows;
    for (std::size_t k = 0; k < std::min(top, token.picks[list].size()); ++k) {
      const PickedRow& pick = token.picks[list][k];
      const std::string link =
          fmt::format("#{}", row_name(table_of(model, list / heads), pick.row));
      rows += html_element("a", {{"href", link}},
                           fmt::format("{} ({:.0f}%)", pick.row, 100 * pick.weight)) +
              " ";
    }
    table.rows.push_back({std::to_string(model.layers()[list / heads]),
                          std::to_string(list % heads),
                          html_element("span", {{"class", "rows"}}, rows)});
  }
  std::string words = fmt::format("token {}, id {}", place, token.token);
  if (place > 0) words += fmt::format("; its loss after those before it: {:.2f} nats", token.loss);
  if (token.rarity) words += fmt::format("; its rows' rarity: {:.1f} bits", *token.rarity);
  return html_element("div", {{"class", "panel"}, {"id", fmt::format("t{}", place)}},
                      html_element("h3", fmt::format("\"{}\"", token.piece)) +
                          html_element("p", {{"class", "dim"}}, html_text(words)) +
                          html_table(table));
}

std::string row_panel(const TextProbe& probe, const std::map<std::size_t, float>& readers,
                      std::size_t table, std::int64_t row, const std::vector<std::uint64_t>* counts,
                      const std::string& command) {
  std::string words;
  for (const auto& [place, weight] : readers) {
    words += html_element("a", {{"href", fmt::format("#t{}", place)}},
                          html_text(fmt::format("{} ({:.0f}%)", visible(probe.tokens[place].piece),
                                                100 * weight))) +
             " ";
  }
  std::string known = command;
  if (counts != nullptr) {
    known =
        fmt::format("picked {} times in the corpus. ", (*counts)[static_cast<std::size_t>(row)]) +
        known;
  }
  return html_element("div", {{"class", "panel"}, {"id", row_name(table, row)}},
                      html_element("h3", fmt::format("Row {}", row)) +
                          html_element("p", {{"class", "dim"}}, html_text(known)) +
                          html_element("p", {{"class", "rows"}}, "read in this text by " + words));
}

// How strongly each token is coloured, in percent: between the text's least and most rare tokens,
// but for the outermost twentieths.
std::vector<double> strengths(const TextProbe& probe, double& low, double& high) {
  std::vector<double> sorted;
  for (const TextToken& token : probe.tokens) sorted.push_back(token.rarity.value_or(0));
  std::vector<double> result = sorted;
  std::sort(sorted.begin(), sorted.end());
  low = sorted[sorted.size() / 20];
  high = sorted[sorted.size() - 1 - sorted.size() / 20];
  for (double& x : result) {
    x = high > low ? std::clamp((x - low) / (high - low), 0.0, 1.0) * 90 : 0;
  }
  return result;
}

}  // namespace

std::string text_page(const ProbeModel& model, const TextProbe& probe, const RowUse* use,
                      const std::string& corpus, std::size_t top) {
  const auto heads = static_cast<std::size_t>(model.heads());
  Readers readers;
  for (const TextToken& token : probe.tokens) {
    for (std::size_t list = 0; list < token.picks.size(); ++list) {
      for (std::size_t k = 0; k < std::min(top, token.picks[list].size()); ++k) {
        readers[{table_of(model, list / heads), token.picks[list][k].row}];
      }
    }
  }
  for (std::size_t place = 0; place < probe.tokens.size(); ++place) {
    for (std::size_t list = 0; list < probe.tokens[place].picks.size(); ++list) {
      for (const PickedRow& pick : probe.tokens[place].picks[list]) {
        const auto found = readers.find({table_of(model, list / heads), pick.row});
        if (found == readers.end()) continue;
        float& weight = found->second[place];
        weight = std::max(weight, pick.weight);
      }
    }
  }
  double low = 0, high = 0;
  const std::vector<double> colours = strengths(probe, low, high);
  std::string text, panels;
  for (std::size_t place = 0; place < probe.tokens.size(); ++place) {
    const TextToken& token = probe.tokens[place];
    const std::string title =
        fmt::format("loss {:.2f}", token.loss) +
        (token.rarity ? fmt::format(", rarity {:.1f} bits", *token.rarity) : "");
    text += html_element("a",
                         {{"href", fmt::format("#t{}", place)},
                          {"id", fmt::format("w{}", place)},
                          {"title", title},
                          {"style", fmt::format("--s:{:.0f}%", colours[place])}},
                         html_text(visible(token.piece)));
    panels += token_panel(model, probe, place, top) + "\n";
  }
  std::vector<std::vector<std::uint64_t>> counts;
  for (std::size_t m = 0; use != nullptr && m < (model.shares_table() ? 1 : use->memories()); ++m) {
    counts.push_back(use->table_counts(m));
  }
  for (const auto& [key, places] : readers) {
    const std::string layer =
        model.shares_table() ? "" : fmt::format(" --layer {}", model.layers()[key.first]);
    panels += row_panel(probe, places, key.first, key.second,
                        counts.empty() ? nullptr : &counts[key.first],
                        fmt::format("More: memengine memory row {} {}{}",
                                    model.source().folder.string(), key.second, layer)) +
              "\n";
  }
  HtmlPage page;
  page.title = "A text and the rows it reads";
  page.lead = fmt::format("{}; layers {}, {} heads each, {} rows per head and token.",
                          model.source().folder.string(), fmt::join(model.layers(), ", "), heads,
                          model.config().productkey_args.mem_knn);
  std::string scale;
  if (use != nullptr) {
    for (int step = 0; step <= 4; ++step) {
      scale += html_element("span", {{"style", fmt::format("--s:{:.0f}%", step * 22.5)}},
                            fmt::format("{:.1f}", low + (high - low) * step / 4));
    }
    scale = html_element("p", {{"class", "scale"}},
                         html_text("How rare its rows are, in bits: common ") + scale + " rare") +
            html_element("p", {{"class", "dim"}},
                         html_text("Bits of a row: log2 of all reads over its own, in " + corpus +
                                   "; of a token: its rows' mean by weight."));
  }
  page.body = html_element("div", {{"class", "text"}}, text) + scale + panels +
              html_element("p", {{"class", "start dim screen"}},
                           "Click a token for the rows it reads, then a row for its readers.");
  page.style = style;
  page.script = script;
  return html_page(page);
}

}  // namespace memengine
