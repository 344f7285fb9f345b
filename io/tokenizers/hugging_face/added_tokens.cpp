// A name is looked up by its bytes, for each length that a name with this first byte has.
#include "io/tokenizers/hugging_face/added_tokens.h"

#include <algorithm>
#include <set>

#include "io/text/one_line.h"
#include "io/text/unicode_classes.h"
#include "io/text/utf8.h"

namespace memengine {
namespace {

// Where the white space at the end of `text` begins.
std::size_t space_begin(std::string_view text) {
  std::size_t begin = text.size();
  for (std::size_t at = text.size(); at > 0;) {
    --at;
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    if (character_class(decode_utf8(text.substr(at)).code) != CharacterClass::white_space) break;
    begin = at;
  }
  return begin;
}

std::size_t space_end(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size()) {
    const Utf8Character character = decode_utf8(text.substr(end));
    if (character_class(character.code) != CharacterClass::white_space) break;
    end += character.length;
  }
  return end;
}

}  // namespace

std::vector<AddedToken> read_added_tokens(const JsonNode& added_tokens) {
  std::vector<AddedToken> tokens;
  std::set<std::string, std::less<>> names;
  std::set<std::int32_t> ids;
  for (const JsonNode& node : added_tokens.list()) {
    AddedToken token;
    token.text = node.text("content");
    token.id = node.at("id").token_id();
    token.special = node.flag_or("special", false);
    token.normalized = node.flag_or("normalized", !token.special);
    token.lstrip = node.flag_or("lstrip", false);
    token.rstrip = node.flag_or("rstrip", false);
    if (token.text.empty()) node.refuse("a token without a name");
    if (node.flag_or("single_word", false)) {
      node.refuse(fmt::format("'{}': single_word is not supported", one_line(token.text)));
    }
    if (!names.insert(token.text).second || !ids.insert(token.id).second) {
      node.refuse(fmt::format("'{}', number {}: there twice", one_line(token.text), token.id));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void AddedTokenFinder::add(const AddedToken& token, const std::string& name) {
  if (name.empty() || !names_.add(name)) return;
  tokens_.push_back(token);
  std::vector<std::size_t>& lengths = lengths_[static_cast<unsigned char>(name[0])];
  const auto at = std::lower_bound(lengths.begin(), lengths.end(), name.size(), std::greater<>());
  if (at == lengths.end() || *at != name.size()) lengths.insert(at, name.size());
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text) const {
  for (const std::size_t length : lengths_[static_cast<unsigned char>(text[0])]) {
    if (length > text.size()) continue;
    const std::int32_t place = names_.find(text.substr(0, length));
    if (place >= 0) return &tokens_[static_cast<std::size_t>(place)];
  }
  return nullptr;
}

void AddedTokenFinder::cut(std::string_view text, bool special, std::vector<Part>& parts) const {
  std::size_t done = 0;
  for (std::size_t at = 0; !empty() && at < text.size();) {
    if (lengths_[static_cast<unsigned char>(text[at])].empty()) {
      ++at;
      continue;
    }
    const AddedToken* token = longest_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    const std::int32_t place = static_cast<std::int32_t>(token - tokens_.data());
    std::size_t begin = at, end = at + names_.bytes(place).size();
    at = end;
    if (token->special && !special) continue;
    if (token->lstrip) begin = std::max(space_begin(text.substr(0, begin)), done);
    if (token->rstrip) end += space_end(text.substr(end));
    if (done < begin) parts.push_back({text.substr(done, begin - done), -1});
    parts.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), -1});
}

}  // namespace memengine
