// Steps in their order, each cutting the pieces of the one before.
#include "io/tokenizers/hugging_face/pre_tokenizer.h"

#include <algorithm>

#include "io/text/unicode_classes.h"
#include "io/text/utf8.h"

namespace memengine {
namespace {

constexpr std::pair<std::string_view, SplitPattern> known_patterns[] = {
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::llama3},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     SplitPattern::qwen2},
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     SplitPattern::gpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     SplitPattern::gpt2}};

// Rust's char::is_numeric, by Unicode 17; our table is Unicode 16's.
bool is_numeric(char32_t c) {
  return character_class(c) == CharacterClass::number || (c >= 0x11DE0 && c <= 0x11DE9) ||
         (c >= 0x16FF4 && c <= 0x16FF6);
}

}  // namespace

void PreTokenizer::add(const JsonNode& node, int depth) {
  const std::string_view type = node.type();
  if (byte_level_) node.refuse("a pre-tokenizer after ByteLevel is not supported");
  if (type == "Sequence") {
    if (depth > 8) node.refuse("sequences nested too deep");
    for (const JsonNode& part : node.at("pretokenizers").list()) add(part, depth + 1);
  } else if (type == "ByteLevel") {
    if (node.flag_or("add_prefix_space", true)) steps_.push_back({.kind = Step::space_in_front});
    if (node.flag_or("use_regex", true)) steps_.push_back({.kind = Step::known_pattern});
    byte_level_ = true;
  } else if (type == "Split") {
    steps_.push_back(split_step(node));
  } else if (type == "Digits") {
    steps_.push_back({.kind = Step::digits});
    if (!node.flag_or("individual_digits", false)) steps_.back().behavior = Behavior::contiguous;
  } else if (type == "Metaspace") {
    steps_.push_back(metaspace_step(node));
  } else {
    node.unsupported("pre-tokenizer");
  }
  if (steps_.size() > 64) node.refuse("more than 64 pre-tokenizers");
}

PreTokenizer::Step PreTokenizer::split_step(const JsonNode& node) const {
  static constexpr std::pair<std::string_view, Behavior> behaviors[] = {
      {"Removed", Behavior::removed},
      {"Isolated", Behavior::isolated},
      {"MergedWithPrevious", Behavior::merged_with_previous},
      {"MergedWithNext", Behavior::merged_with_next},
      {"Contiguous", Behavior::contiguous}};
  Step step{.kind = Step::pattern};
  step.pattern_of.emplace_back(node.at("pattern"));
  step.invert = node.flag_or("invert", false);
  const std::string_view asked = node.text("behavior");
  const auto* behavior = std::find_if(std::begin(behaviors), std::end(behaviors),
                                      [&](const auto& one) { return one.first == asked; });
  if (behavior == std::end(behaviors)) node.at("behavior").refuse("is not a behavior of Split");
  step.behavior = behavior->second;
  // The known patterns match every character, so what they leave is nothing.
  const bool takes_matches =
      step.behavior == Behavior::isolated || (step.behavior == Behavior::removed && step.invert);
  for (const auto& [source, known] : known_patterns) {
    if (takes_matches && step.pattern_of[0].is_regex() && step.pattern_of[0].source() == source) {
      return {.kind = Step::known_pattern, .known = known};
    }
  }
  return step;
}

PreTokenizer::Step PreTokenizer::metaspace_step(const JsonNode& node) const {
  Step step{.kind = Step::metaspace};
  step.mark = node.text("replacement");
  if (step.mark.empty()) node.at("replacement").refuse("is empty");
  const std::string_view scheme =
      node.text_or("prepend_scheme", node.flag_or("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    node.at("prepend_scheme").refuse("is neither always, first nor never");
  }
  step.prepend = scheme == "always" ? Step::always : scheme == "first" ? Step::first : Step::never;
  step.splits = node.flag_or("split", true);
  return step;
}

std::vector<PreTokenizer::Part> PreTokenizer::parts_of(const Step& step, std::string_view text) {
  std::vector<Part> parts;
  std::size_t done = 0;
  const auto add_match = [&](std::size_t begin, std::size_t end) {
    if (done < begin) parts.push_back({done, begin, step.invert});
    parts.push_back({begin, end, !step.invert});
    done = end;
  };
  if (step.kind == Step::digits) {
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Character character = decode_utf8(text.substr(at));
      if (is_numeric(character.code)) add_match(at, at + character.length);
      at += character.length;
    }
  } else {
    const Pattern& pattern = step.pattern_of.front();
    for (Pattern::Walk walk; pattern.next(text, walk);) add_match(walk.begin, walk.end);
  }
  if (done < text.size()) parts.push_back({done, text.size(), step.invert});

  // What becomes of matches. A match that is merged stands with its neighbour, but of several
  // matches in a row only one is merged.
  std::vector<Part> kept;
  const auto merge = [&](auto begin, auto end, bool next) {
    bool previous_match = false;
    for (auto part = begin; part != end; ++part) {
      if (part->is_match && !previous_match && !kept.empty()) {
        (next ? kept.back().begin : kept.back().end) = next ? part->begin : part->end;
      } else {
        kept.push_back(*part);
      }
      previous_match = part->is_match;
    }
  };
  switch (step.behavior) {
    case Behavior::isolated:
      return parts;
    case Behavior::removed:
      std::erase_if(parts, [](const Part& part) { return part.is_match; });
      return parts;
    case Behavior::merged_with_previous:
      merge(parts.begin(), parts.end(), false);
      return kept;
    case Behavior::merged_with_next:
      merge(parts.rbegin(), parts.rend(), true);
      std::reverse(kept.begin(), kept.end());
      return kept;
    case Behavior::contiguous:
      for (const Part& part : parts) {
        if (!kept.empty() && kept.back().is_match == part.is_match) {
          kept.back().end = part.end;
        } else {
          kept.push_back(part);
        }
      }
      return kept;
  }
  return parts;
}

void PreTokenizer::run(std::size_t number, std::string_view text, bool first,
                       const Sink& sink) const {
  if (text.empty()) return;
  if (number == steps_.size()) return sink(text);
  const Step& step = steps_[number];
  if (step.kind == Step::metaspace) return run_metaspace(number, text, first, sink);
  if (step.kind == Step::space_in_front) {
    if (text.front() == ' ') return run(number + 1, text, first, sink);
    std::string spaced(1, ' ');
    return run(number + 1, spaced.append(text), first, sink);
  }
  const bool last = number + 1 == steps_.size();
  const auto go_on = [&](std::string_view piece) {
    if (last) return sink(piece);
    run(number + 1, piece, first && piece.data() == text.data(), sink);
  };
  if (step.kind == Step::known_pattern) {
    TiktokenPieces pieces(text, step.known);
    for (std::string_view piece; !(piece = pieces.next()).empty();) go_on(piece);
    return;
  }
  for (const Part& part : parts_of(step, text)) {
    if (part.begin < part.end) go_on(text.substr(part.begin, part.end - part.begin));
  }
}

void PreTokenizer::run_metaspace(std::size_t number, std::string_view text, bool first,
                                 const Sink& sink) const {
  const Step& step = steps_[number];
  std::string marked;
  marked.reserve(text.size() + text.size() / 2);
  const bool in_front = step.prepend == Step::always || (step.prepend == Step::first && first);
  if (in_front && text.front() != ' ' && !text.starts_with(step.mark)) marked = step.mark;
  for (const char c : text) c == ' ' ? marked.append(step.mark) : marked.append(1, c);
  const std::string_view whole = marked;
  std::size_t begin = 0;
  while (step.splits && begin < whole.size()) {
    const std::size_t next = whole.find(step.mark, begin + 1);
    if (next == whole.npos) break;
    run(number + 1, whole.substr(begin, next - begin), first && begin == 0, sink);
    begin = next;
  }
  run(number + 1, whole.substr(begin), first && begin == 0, sink);
}

}  // namespace memengine
