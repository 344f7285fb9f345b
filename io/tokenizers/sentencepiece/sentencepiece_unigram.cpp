// The best way to every place in the text is the best way to an earlier place and one piece more;
// places are visited in order, and at each one the tree gives all pieces that start there.
#include "io/tokenizers/sentencepiece/sentencepiece_unigram.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace memengine {
namespace {

constexpr float unknown_penalty = 10;
constexpr float largest_sum = 100000;

// Bytes of the character that starts with this byte.
std::size_t character_bytes(char lead) {
  static constexpr char bytes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
  return static_cast<std::size_t>(bytes[static_cast<unsigned char>(lead) >> 4]);
}

// The best way to one place: its sum, and the last piece of it.
struct Best {
  float sum = 0;
  std::int32_t id = -1;
  std::int64_t from = -1;  // where that piece starts; -1: no way yet
};

}  // namespace

std::unique_ptr<SentencePieceUnigram> SentencePieceUnigram::parse(std::string_view model) {
  const auto proto = parse_sentencepiece_proto(model);
  if (!proto || proto->model_type != SentencePieceProto::unigram || proto->space_as_suffix) {
    return nullptr;
  }
  auto unigram = std::make_unique<SentencePieceUnigram>();
  if (!unigram->normalizer_.load(*proto)) return nullptr;
  if (proto->byte_fallback) {
    auto byte_ids = proto->byte_ids();
    if (!byte_ids) return nullptr;
    unigram->byte_ids_ = std::move(*byte_ids);
  }
  float lowest = std::numeric_limits<float>::max();
  std::vector<Named> pieces;
  for (std::size_t i = 0; i < proto->pieces.size(); ++i) {
    const auto& [text, score, type] = proto->pieces[i];
    const auto id = static_cast<std::int32_t>(i);
    if (type == SentencePieceProto::user_defined || !std::isfinite(score)) return nullptr;
    unigram->score_.push_back(score);
    if (type == SentencePieceProto::unknown) unigram->unknown_id_ = id;
    if (type != SentencePieceProto::normal) continue;
    lowest = std::min(lowest, score);
    pieces.push_back({text, id});
  }
  unigram->unknown_score_ = lowest - unknown_penalty;
  if (unigram->unknown_id_ < 0 || !unigram->build_tree(std::move(pieces))) return nullptr;
  return unigram;
}

bool SentencePieceUnigram::build_tree(std::vector<Named> pieces) {
  std::sort(pieces.begin(), pieces.end(),
            [](const Named& a, const Named& b) { return a.text < b.text; });
  struct Range {
    std::size_t begin, end, depth;  // the pieces below a node, and the node's depth
  };
  std::vector<Range> ranges = {{0, pieces.size(), 0}};
  tree_ = {Node{}};
  for (std::size_t node = 0; node < tree_.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (begin < end && pieces[begin].text.size() == depth) {
      if (depth == 0) return false;  // an empty piece
      tree_[node].id = pieces[begin++].id;
      if (begin < end && pieces[begin].text.size() == depth) return false;  // one twice
    }
    tree_[node].first_child = static_cast<std::uint32_t>(tree_.size());
    while (begin < end) {
      const char byte = pieces[begin].text[depth];
      std::size_t last = begin;
      while (last < end && pieces[last].text[depth] == byte) ++last;
      tree_.push_back({0, 0, static_cast<std::uint8_t>(byte), -1});
      ranges.push_back({begin, last, depth + 1});
      ++tree_[node].children;
      begin = last;
    }
  }
  return tree_.size() > 1;
}

const SentencePieceUnigram::Node* SentencePieceUnigram::child(const Node& node, char byte) const {
  const Node* first = tree_.data() + node.first_child;
  const Node* end = first + node.children;
  const auto wanted = static_cast<std::uint8_t>(byte);
  const Node* found = std::lower_bound(first, end, wanted,
                                       [](const Node& a, std::uint8_t b) { return a.byte < b; });
  return found != end && found->byte == wanted ? found : nullptr;
}

void SentencePieceUnigram::encode_append(std::string_view text,
                                         std::vector<std::int32_t>& ids) const {
  const std::string normalized = normalizer_.normalize(text);
  const std::size_t size = normalized.size();
  std::vector<Best> best(size + 1);
  std::size_t reached = 0;  // the farthest place that has a way
  const auto offer = [&](std::size_t to, float sum, std::int32_t id, std::size_t from) {
    reached = std::max(reached, to);
    if (best[to].from < 0 || sum > best[to].sum) {
      best[to] = {sum, id, static_cast<std::int64_t>(from)};
    }
  };
  for (std::size_t at = 0; at < size;) {
    float here = best[at].sum;
    if (here < -largest_sum || here > largest_sum) {
      for (std::size_t i = at; i <= reached; ++i) {
        if (i == at || best[i].from >= 0) best[i].sum -= here;
      }
      here = 0;
    }
    const std::size_t character = std::min(character_bytes(normalized[at]), size - at);
    bool known = false;  // the character alone is a piece
    const Node* node = tree_.data();
    for (std::size_t end = at; end < size && (node = child(*node, normalized[end])) != nullptr;) {
      ++end;
      if (node->id < 0) continue;
      offer(end, score_[static_cast<std::size_t>(node->id)] + here, node->id, at);
      known = known || end - at == character;
    }
    if (!known) offer(at + character, unknown_score_ + here, unknown_id_, at);
    at += character;
  }

  const std::size_t first = ids.size();
  bool unknown_behind = false;  // the way is walked from its end
  for (std::size_t end = size; end > 0;) {
    const Best& last = best[end];
    const auto from = static_cast<std::size_t>(last.from);
    const bool is_unknown = last.id == unknown_id_;
    if (is_unknown && !byte_ids_.empty()) {
      for (std::size_t i = end; i > from; --i) {
        ids.push_back(byte_ids_[static_cast<unsigned char>(normalized[i - 1])]);
      }
    } else if (!is_unknown || !unknown_behind) {
      ids.push_back(last.id);
    }
    unknown_behind = is_unknown;
    end = from;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
}

}  // namespace memengine
