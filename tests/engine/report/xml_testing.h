// A page read by libxml2, which knows nothing of how it was written.
#pragma once

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace memengine {

class XmlDocument {
 public:
  // std::runtime_error where the text is not well-formed.
  explicit XmlDocument(const std::string& text)
      : document_(xmlReadMemory(
                      text.data(), static_cast<int>(text.size()), "page", "UTF-8",
                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_HUGE),
                  xmlFreeDoc) {
    if (document_ == nullptr) {
      const auto* error = xmlGetLastError();
      throw std::runtime_error(error == nullptr ? "not XML" : error->message);
    }
  }

  // The string value of every node that an XPath expression finds; h: is XHTML, s: is SVG.
  std::vector<std::string> texts(const std::string& path) const {
    const std::unique_ptr<xmlXPathContext, void (*)(xmlXPathContextPtr)> context(
        xmlXPathNewContext(document_.get()), xmlXPathFreeContext);
    const auto name = [](const char* text) { return reinterpret_cast<const xmlChar*>(text); };
    xmlXPathRegisterNs(context.get(), name("h"), name("http://www.w3.org/1999/xhtml"));
    xmlXPathRegisterNs(context.get(), name("s"), name("http://www.w3.org/2000/svg"));
    const std::unique_ptr<xmlXPathObject, void (*)(xmlXPathObjectPtr)> found(
        xmlXPathEvalExpression(name(path.c_str()), context.get()), xmlXPathFreeObject);
    if (found == nullptr) throw std::runtime_error("no XPath: " + path);
    std::vector<std::string> texts;
    for (int i = 0; found->nodesetval != nullptr && i < found->nodesetval->nodeNr; ++i) {
      xmlChar* content = xmlNodeGetContent(found->nodesetval->nodeTab[i]);
      texts.emplace_back(reinterpret_cast<const char*>(content));
      xmlFree(content);
    }
    return texts;
  }
  int count(const std::string& path) const { return static_cast<int>(texts(path).size()); }
  // Of the first; std::out_of_range where there is none.
  std::string text(const std::string& path) const { return texts(path).at(0); }

 private:
  std::unique_ptr<xmlDoc, void (*)(xmlDocPtr)> document_;
};

}  // namespace memengine
