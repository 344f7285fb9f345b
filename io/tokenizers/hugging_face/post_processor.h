// The post-processor of a tokenizer.json: which tokens it puts in front of a text and after it.
// TemplateProcessing, ByteLevel (which changes no ids), and Sequences of them.
#pragma once

#include <cstdint>
#include <vector>

#include "io/tokenizers/hugging_face/json_node.h"

namespace memengine {

struct PostProcessor {
  std::vector<std::int32_t> front, back;
};

// Input error: another type, named; two templates; a template without the text.
PostProcessor read_post_processor(const JsonNode& post_processor);

}  // namespace memengine
