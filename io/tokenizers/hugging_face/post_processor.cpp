// See the header.
#include "io/tokenizers/hugging_face/post_processor.h"

#include <fmt/format.h>

#include "io/text/one_line.h"

namespace memengine {
namespace {

void read_template(const JsonNode& node, PostProcessor& result) {
  bool text_seen = false;
  for (const JsonNode& item : node.at("single").list()) {
    if (item.has("Sequence")) {
      if (text_seen) item.refuse("a template with the text twice is not supported");
      text_seen = true;
      continue;
    }
    const std::string_view name = item.at("SpecialToken").text("id");
    const JsonNode tokens = node.at("special_tokens");
    bool found = false;
    for (const auto& [key, token] : tokens.members()) {
      if (key != name) continue;
      found = true;
      for (const JsonNode& id : token.at("ids").list()) {
        (text_seen ? result.back : result.front).push_back(id.token_id());
      }
    }
    if (!found) tokens.refuse(fmt::format("has no '{}'", one_line(name)));
  }
  if (!text_seen) node.refuse("a template without the text");
}

void add(const JsonNode& node, PostProcessor& result, bool& has_template, int depth) {
  const std::string_view type = node.type();
  if (type == "Sequence") {
    if (depth > 8) node.refuse("sequences nested too deep");
    for (const JsonNode& part : node.at("processors").list()) {
      add(part, result, has_template, depth + 1);
    }
  } else if (type == "TemplateProcessing") {
    if (has_template) node.refuse("two templates are not supported");
    has_template = true;
    read_template(node, result);
  } else if (type != "ByteLevel") {
    node.unsupported("post-processor");
  }
}

}  // namespace

PostProcessor read_post_processor(const JsonNode& post_processor) {
  PostProcessor result;
  bool has_template = false;
  add(post_processor, result, has_template, 0);
  return result;
}

}  // namespace memengine
