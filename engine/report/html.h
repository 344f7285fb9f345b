// HTML by strings: what is put into a page goes through html_text or html_attribute, so that no
// name, config value or text of a corpus can become markup.
//
// Pages are XHTML in form (every element closed, every attribute quoted, five entities only), so
// that a browser and an XML parser read the same thing.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace memengine {

// Text as it may stand between tags and within quoted attributes. Characters that XML does not
// know (most C0 controls, surrogates, U+FFFE), marks that change the direction of writing and bytes
// that are no UTF-8 become U+FFFD; line feeds and tabs stay.
std::string html_text(std::string_view text);

using HtmlAttributes = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// <tag name="value">content</tag>: attribute values are escaped here, the content is HTML already.
std::string html_element(std::string_view tag, HtmlAttributes attributes, std::string_view content);
// <tag>text</tag>, escaped.
std::string html_element(std::string_view tag, std::string_view text);

}  // namespace memengine
