// The leftmost name, and of those that begin there the longest.
#include "io/tokenizers/special_tokens.h"

#include <algorithm>

namespace memengine {

SpecialTokenEncoder::SpecialTokenEncoder(const Tokenizer& tokenizer, SpaceInFront space, bool bos)
    : tokenizer_(tokenizer),
      space_(space),
      bos_(bos && tokenizer.bos_id() >= 0),
      special_(tokenizer.special_tokens()) {
  std::erase_if(special_, [](const SpecialToken& token) { return token.text.empty(); });
  std::stable_sort(
      special_.begin(), special_.end(),
      [](const SpecialToken& a, const SpecialToken& b) { return a.text.size() > b.text.size(); });
  for (const SpecialToken& token : special_) {
    begins_[static_cast<unsigned char>(token.text[0])] = true;
    if (token.id == tokenizer.bos_id()) bos_name_ = token.text;
  }
}

const SpecialToken* SpecialTokenEncoder::at_front(std::string_view text) const {
  if (!begins_[static_cast<unsigned char>(text[0])]) return nullptr;
  const auto found = std::find_if(special_.begin(), special_.end(), [&](const SpecialToken& token) {
    return text.starts_with(token.text);
  });
  return found == special_.end() ? nullptr : &*found;
}

void SpecialTokenEncoder::encode_part(std::string_view part, bool first,
                                      std::vector<std::int32_t>& ids) const {
  if (part.empty()) return;
  const bool begins_with_space = part[0] == ' ' || part.starts_with("\xE2\x96\x81");
  const bool space = space_ == SpaceInFront::every_part ||
                     (!begins_with_space && (first || space_ == SpaceInFront::unless_a_space));
  if (space) {
    tokenizer_.encode_append(part, ids);
  } else {
    tokenizer_.encode_continued(part, ids);
  }
}

std::vector<std::int32_t> SpecialTokenEncoder::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  if (bos_ && (bos_name_.empty() || !text.starts_with(bos_name_))) {
    ids.push_back(tokenizer_.bos_id());
  }
  if (tokenizer_.reads_special_tokens()) {
    tokenizer_.encode_with_special(text, ids);
    return ids;
  }
  bool first = true;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const SpecialToken* token = at_front(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    encode_part(text.substr(begin, at - begin), first, ids);
    ids.push_back(token->id);
    at += token->text.size();
    begin = at;
    first = false;
  }
  encode_part(text.substr(begin), first, ids);
  return ids;
}

}  // namespace memengine
