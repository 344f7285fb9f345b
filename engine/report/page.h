// The frame of every page that this program writes: one file that opens offline and can be mailed.
// Style, pictures and script are inside; nothing is asked of any other place, and a content
// security policy says so to the browser. Light and dark after the system's choice, readable on a
// phone and on paper.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memengine {

struct HtmlPage {
  std::string title;   // plain text
  std::string lead;    // plain text below the title; may be empty
  std::string body;    // HTML
  std::string style;   // CSS beyond the common one; may be empty
  std::string script;  // may be empty; without '<' and '&', which XML would read
};
std::string html_page(const HtmlPage& page);

// <section> with a heading; `html` is its content. `id` is for links, a plain word.
std::string html_section(std::string_view id, std::string_view heading, std::string_view html);

// A table in a box that scrolls sideways by itself, so that a wide one does not widen the page.
// Cells are HTML already (html_text); a row may have fewer cells than the head. Columns that
// `numeric` names are set right, in digits of equal width.
struct HtmlTable {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> numeric;
};
std::string html_table(const HtmlTable& table);

// Series colours are the CSS classes "c0" to "c7", by which lines (svg.h), swatches and texts have
// the same colour in light and dark: `stroke`, `fill` and --c are set. Colour n is of class n
// mod 8.
std::string colour_class(std::size_t series);
// A small square of that colour, as legends have it.
std::string html_swatch(std::size_t series);

}  // namespace memengine
