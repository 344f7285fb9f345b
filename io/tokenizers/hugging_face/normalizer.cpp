// Each step makes a new text of the old one. NFC is ICU's.
#include "io/tokenizers/hugging_face/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uniset.h>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// The library's tables are Unicode 9's: what came later has no order and composes with nothing
// there.
const icu::Normalizer2& nfc_of_unicode_9(const icu::Normalizer2& newest) {
  static const icu::FilteredNormalizer2* const filtered = [&newest] {
    UErrorCode status = U_ZERO_ERROR;
    auto* characters = new icu::UnicodeSet("[:age=9.0:]", status);  // for as long as we run
    characters->freeze();
    if (U_FAILURE(status) != 0) throw Error(Error::Kind::internal, "ICU has no ages of characters");
    return new icu::FilteredNormalizer2(newest, *characters);
  }();
  return *filtered;
}

std::string nfc(std::string text) {
  // Below U+0300 nothing composes.
  bool may_change = false;
  for (const char c : text) may_change |= static_cast<unsigned char>(c) >= 0xCC;
  if (!may_change) return text;
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* newest = icu::Normalizer2::getNFCInstance(status);
  const icu::StringPiece all(text.data(), static_cast<std::int32_t>(text.size()));
  // What is normal by newer tables is so by older ones, where more characters keep others apart.
  if (U_SUCCESS(status) != 0 && newest->isNormalizedUTF8(all, status) != 0) return text;
  std::string result;
  icu::StringByteSink<std::string> sink(&result, all.length());
  if (U_SUCCESS(status) != 0) {
    nfc_of_unicode_9(*newest).normalizeUTF8(0, all, sink, nullptr, status);
  }
  if (U_FAILURE(status) != 0) throw Error(Error::Kind::internal, "ICU cannot normalize a text");
  return result;
}

std::string replaced(std::string_view text, const Pattern& pattern, std::string_view content) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  std::size_t done = 0;
  for (Pattern::Walk walk; pattern.next(text, walk); done = walk.end) {
    result.append(text.substr(done, walk.begin - done)).append(content);
  }
  return result.append(text.substr(done));
}

}  // namespace

void Normalizer::add(const JsonNode& node, int depth) {
  const std::string_view type = node.type();
  if (type == "Sequence") {
    if (depth > 8) node.refuse("sequences nested too deep");
    for (const JsonNode& part : node.at("normalizers").list()) add(part, depth + 1);
  } else if (type == "Prepend") {
    steps_.push_back({Step::prepend, std::string(node.text("prepend")), {}});
  } else if (type == "Replace") {
    steps_.push_back(
        {Step::replace, std::string(node.text("content")), {Pattern(node.at("pattern"))}});
  } else if (type == "NFC") {
    steps_.push_back({Step::nfc, "", {}});
  } else {
    node.unsupported("normalizer");
  }
  if (steps_.size() > 64) node.refuse("more than 64 normalizers");
}

std::string Normalizer::normalize(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::prepend:
        if (!result.empty()) result.insert(0, step.content);
        break;
      case Step::replace:
        result = replaced(result, step.pattern.front(), step.content);
        break;
      case Step::nfc:
        result = nfc(std::move(result));
        break;
    }
    if (result.size() > 64 * text.size() + (1u << 20)) {
      fail_input("the tokenizer's normalizers make {} bytes of {}", result.size(), text.size());
    }
  }
  return result;
}

}  // namespace memengine
