#include "engine/report/page.h"

#include <fmt/format.h>

#include "engine/report/html.h"

namespace memengine {
namespace {

// Okabe and Ito's colours that can be told apart by all eyes, darkened or lightened for contrast.
constexpr const char* common_style = R"css(
:root{--bg:#fff;--fg:#1c2126;--dim:#5b6570;--line:#d9dee3;--box:#f6f8fa;--accent:#0b62b0;
--s0:#0b62b0;--s1:#c2500a;--s2:#00795a;--s3:#a1387e;--s4:#7a6200;--s5:#2a8fbd;--s6:#5d4bb3;--s7:#4a4f55;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--bg:#14181c;--fg:#e4e8ec;--dim:#9aa5b0;--line:#343c44;--box:#1c2228;--accent:#6cb4f5;
--s0:#6cb4f5;--s1:#f49a5c;--s2:#3ecfa4;--s3:#ea8cc8;--s4:#dcc13c;--s5:#8fd6f5;--s6:#b0a2f5;--s7:#b8c0c8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1480px;margin:0 auto;padding:20px clamp(12px,3vw,40px) 60px}
h1{font-size:1.5rem;line-height:1.25;margin:.2em 0;overflow-wrap:anywhere}h2{font-size:1.12rem;margin:2em 0 .5em;padding-top:.5em;border-top:1px solid var(--line)}
h3{font-size:.95rem;margin:0 0 .3em}
p{margin:.4em 0;max-width:75ch;overflow-wrap:anywhere}.dim{color:var(--dim)}a{color:var(--accent)}code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.9em;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px;margin:.6em 0}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{padding:5px 11px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{background:var(--box);font-weight:600;white-space:nowrap}tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}th.n{white-space:normal}
td:first-child{min-width:min(14em,32vw);overflow-wrap:anywhere}
th:first-child,td:first-child{position:sticky;left:0}td:first-child{background:var(--bg)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:16px}
figure{margin:0;padding:10px;background:var(--box);border:1px solid var(--line);border-radius:6px;min-width:0}
figcaption{font-weight:600;font-size:.9rem;margin-bottom:4px}figcaption .dim{font-weight:400}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--dim);font-size:13px;font-family:inherit}
svg .grid{stroke:var(--line);stroke-width:1}
svg .curve{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
svg .band{fill:var(--c);fill-opacity:.2;stroke:none}
svg .dot{fill:var(--c);stroke:var(--box);stroke-width:1}
svg .mark{fill:none;stroke:var(--c);stroke-width:1.8}
svg .label{fill:var(--c);font-size:11px}
svg .goal{stroke:var(--dim);stroke-dasharray:5 4}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:.5em 0;font-size:.88rem;padding:0;list-style:none}
.legend li{overflow-wrap:anywhere;min-width:0}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;background:var(--c);margin-right:.45em}
.c0{--c:var(--s0)}.c1{--c:var(--s1)}.c2{--c:var(--s2)}.c3{--c:var(--s3)}.c4{--c:var(--s4)}.c5{--c:var(--s5)}.c6{--c:var(--s6)}.c7{--c:var(--s7)}
@media (max-width:500px){svg text{font-size:16px}}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--box:#fff;--s0:#0b62b0;--s1:#c2500a;--s2:#00795a;--s3:#a1387e;--s4:#7a6200;--s5:#2a8fbd;--s6:#5d4bb3;--s7:#4a4f55}
main{max-width:none;padding:0}.charts{grid-template-columns:1fr 1fr}figure,tr{break-inside:avoid}h2{break-after:avoid}.scroll{overflow:visible}.screen{display:none!important}th,td,th.n,td.n{padding:2px 3px;font-size:6.5pt;white-space:normal}td:first-child{min-width:5em}th:first-child,td:first-child{position:static}}
)css";

}  // namespace

std::string html_page(const HtmlPage& page) {
  std::string html =
      "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
      "<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\"/>\n";
  html += html_element("title", page.title);
  html += fmt::format("\n<style>{}{}</style>\n</head>\n<body>\n<main>\n", common_style, page.style);
  html += html_element("h1", page.title);
  if (!page.lead.empty()) html += html_element("p", {{"class", "dim"}}, html_text(page.lead));
  html += page.body;
  html += "\n</main>\n";
  if (!page.script.empty()) html += "<script>" + page.script + "</script>\n";
  return html + "</body>\n</html>\n";
}

std::string html_section(std::string_view id, std::string_view heading, std::string_view html) {
  return html_element("section", {{"id", id}},
                      html_element("h2", heading) + "\n" + std::string(html)) +
         "\n";
}

std::string html_table(const HtmlTable& table) {
  const auto cells = [&](const char* tag, const std::vector<std::string>& row) {
    std::string html = "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool numeric = i < table.numeric.size() && table.numeric[i];
      html += numeric ? html_element(tag, {{"class", "n"}}, row[i]) : html_element(tag, {}, row[i]);
    }
    return html + "</tr>\n";
  };
  std::string rows;
  for (const std::vector<std::string>& row : table.rows) rows += cells("td", row);
  return "<div class=\"scroll\"><table><thead>" + cells("th", table.head) + "</thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

std::string colour_class(std::size_t series) {
  return fmt::format("c{}", series % 8);
}

std::string html_swatch(std::size_t series) {
  return html_element("span", {{"class", "swatch " + colour_class(series)}}, "");
}

}  // namespace memengine
