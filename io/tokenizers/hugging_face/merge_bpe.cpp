// Reading "model", and encoding by it.
#include "io/tokenizers/hugging_face/merge_bpe.h"

#include <fmt/format.h>

#include "io/text/one_line.h"
#include "io/text/utf8.h"
#include "io/tokenizers/byte_letters.h"

namespace memengine {
namespace {

constexpr std::string_view space_mark = "\xE2\x96\x81";

bool has_inner_mark(std::string_view text) {
  while (text.starts_with(space_mark)) text.remove_prefix(space_mark.size());
  return text.find(space_mark) != text.npos;
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

MergeBpe::MergeBpe(const JsonNode& model, bool byte_level) : byte_level_(byte_level) {
  if (model.has("type") && model.type() != "BPE") model.unsupported("the model");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text_or(key, "").empty()) model.refuse(fmt::format("{} is not supported", key));
  }
  if (model.has("dropout") && !model.at("dropout").is_zero()) {
    model.refuse("dropout, which makes ids by chance, is not supported");
  }
  byte_fallback_ = model.flag_or("byte_fallback", false);
  fuse_unknown_ = model.flag_or("fuse_unk", false);
  ignore_merges_ = model.flag_or("ignore_merges", false);
  read_vocabulary(model.at("vocab"));
  read_merges(model.at("merges"));
  note_byte_tokens(model);
  if (const std::string_view name = model.text_or("unk_token", ""); model.has("unk_token")) {
    unknown_ = find_text(name);
    if (unknown_ < 0) model.refuse(fmt::format("unk_token '{}' is no token", one_line(name)));
  }
  cuts_at_marks_ = !byte_level_ && !ignore_merges_ && find_text(space_mark) >= 0;
  for (const std::string& text : texts_) {
    if (cuts_at_marks_ && has_inner_mark(text)) cuts_at_marks_ = false;
  }
  find_whole_words();
}

void MergeBpe::read_vocabulary(const JsonNode& vocab) {
  const auto members = vocab.members();
  std::int32_t largest = -1;
  for (const auto& [text, node] : members) largest = std::max(largest, node.token_id());
  // Room for gaps, but no gigabytes for a few bytes of file.
  if (static_cast<std::size_t>(largest) + 1 > 4 * members.size() + 65536) {
    vocab.refuse(fmt::format("token {} among {} tokens", largest, members.size()));
  }
  texts_.resize(static_cast<std::size_t>(largest + 1));
  std::vector<bool> taken(texts_.size());
  for (const auto& [text, node] : members) {
    const std::int32_t id = node.token_id();
    const auto at = static_cast<std::size_t>(id);
    if (taken[at]) vocab.refuse(fmt::format("two tokens have the number {}", id));
    if (!names_.add(text)) vocab.refuse(fmt::format("token '{}' is there twice", one_line(text)));
    taken[at] = true;
    texts_[at] = text;
    name_ids_.push_back(id);
    const auto bytes = byte_level_ ? bytes_of_letters(text) : std::string(text);
    if (bytes && !bytes->empty() && tokens_.add(*bytes)) token_ids_.push_back(id);
  }
}

std::int32_t MergeBpe::find_text(std::string_view text) const {
  const std::int32_t place = names_.find(text);
  return place < 0 ? -1 : name_ids_[static_cast<std::size_t>(place)];
}

std::int32_t MergeBpe::token_of(std::string_view bytes) const {
  const std::int32_t place = tokens_.find(bytes);
  return place < 0 ? -1 : token_ids_[static_cast<std::size_t>(place)];
}

void MergeBpe::read_merges(const JsonNode& merges) {
  const std::vector<JsonNode> list = merges.list();
  std::size_t slots = 16;
  while (slots < 2 * list.size()) slots *= 2;
  pairs_.resize(slots);
  std::string joined_text;
  for (std::size_t rank = 0; rank < list.size(); ++rank) {
    const auto refuse = [&](std::string_view why) {
      merges.refuse(fmt::format("merge {} {}", rank, why));
    };
    std::string_view left, right;
    if (list[rank].is_list()) {
      const std::vector<JsonNode> two = list[rank].list();
      if (two.size() != 2) refuse("is not of two tokens");
      left = two[0].text(), right = two[1].text();
    } else {
      const std::string_view text = list[rank].text();
      const std::size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        refuse("is not of two tokens");
      }
      left = text.substr(0, space), right = text.substr(space + 1);
    }
    joined_text.assign(left).append(right);
    const std::int32_t a = find_text(left), b = find_text(right), made = find_text(joined_text);
    if (a < 0 || b < 0 || made < 0) {
      const std::string_view missing = a < 0 ? left : b < 0 ? right : joined_text;
      refuse(fmt::format("needs '{}', which is no token", one_line(missing)));
    }
    const std::uint64_t key = pair_key(a, b);
    pairs_[slot_of(key)] = {key, {static_cast<std::uint32_t>(rank), made}};  // the last one counts
  }
}

void MergeBpe::note_byte_tokens(const JsonNode& model) {
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char value = static_cast<char>(byte);
    byte_ids_[byte] = token_of({&value, 1});
    fallbacks_[byte] = find_text(fmt::format("<0x{:02X}>", byte));
    if (byte_level_ && byte_fallback_ && byte_ids_[byte] < 0) {
      model.refuse(fmt::format("byte 0x{:02x} has no token", byte));
    }
  }
}

// By place in tokens_, so that the answer is at hand where the look-up ends.
void MergeBpe::find_whole_words() {
  std::vector<std::int32_t> ids;
  is_whole_.assign(token_ids_.size(), 0);
  for (std::int32_t place = 0; place < tokens_.size(); ++place) {
    const auto at = static_cast<std::size_t>(place);
    ids.clear();
    if (!ignore_merges_) encode_word(tokens_.bytes(place), ids);
    is_whole_[at] = ignore_merges_ || (ids.size() == 1 && ids[0] == token_ids_[at]);
  }
}

std::size_t MergeBpe::slot_of(std::uint64_t key) const {
  std::size_t slot = (key * 0x9E3779B97F4A7C15u) >> 32 & (pairs_.size() - 1);
  while (pairs_[slot].key != empty && pairs_[slot].key != key) {
    slot = (slot + 1) & (pairs_.size() - 1);
  }
  return slot;
}

BpeJoin MergeBpe::joined(std::int32_t left, std::int32_t right) const {
  return pairs_[slot_of(pair_key(left, right))].join;
}

void MergeBpe::start_parts(std::string_view word, BpeParts& parts) const {
  bool unknown_waits = false;  // it is added before the next token, or joins the next unknown one
  std::size_t unknown_at = 0;
  const auto flush = [&] {
    if (unknown_waits) parts.add(unknown_at, unknown_);
    unknown_waits = false;
  };
  for (std::size_t at = 0, length = 1; at < word.size(); at += length) {
    const auto byte = static_cast<unsigned char>(word[at]);
    const bool is_byte = byte_level_ || byte < 0x80;
    length = is_byte ? 1 : decode_utf8(word.substr(at)).length;
    const std::int32_t id = is_byte ? byte_ids_[byte] : token_of(word.substr(at, length));
    if (id >= 0) {
      flush();
      parts.add(at, id);
      continue;
    }
    if (byte_fallback_) {
      const auto fallback = [&](std::size_t i) {
        return fallbacks_[static_cast<unsigned char>(word[at + i])];
      };
      bool all = true;
      for (std::size_t i = 0; i < length; ++i) all = all && fallback(i) >= 0;
      for (std::size_t i = 0; all && i < length; ++i) parts.add(at + i, fallback(i));
      if (all) continue;
    }
    if (unknown_ < 0) continue;
    if (!fuse_unknown_) flush();
    if (!unknown_waits) unknown_at = at;
    unknown_waits = true;
  }
  flush();
  parts.start.push_back(static_cast<std::uint32_t>(word.size()));
}

void MergeBpe::encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
  thread_local BpeParts parts;
  parts.clear();
  start_parts(word, parts);
  merge_parts(parts, [this](std::int32_t left, std::int32_t right, std::uint32_t, std::uint32_t) {
    return joined(left, right);
  });
  ids.insert(ids.end(), parts.id.begin(), parts.id.end());
}

void MergeBpe::encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const {
  const auto encode = [&](std::string_view word) {
    const std::int32_t place = tokens_.find(word);
    if (place >= 0 && is_whole_[static_cast<std::size_t>(place)]) {
      ids.push_back(token_ids_[static_cast<std::size_t>(place)]);
    } else {
      encode_word(word, ids);
    }
  };
  if (!cuts_at_marks_) return encode(piece);
  std::size_t begin = 0;
  for (std::size_t at = piece.find(space_mark); at != piece.npos;) {
    if (at > begin) encode(piece.substr(begin, at - begin));
    begin = at;
    do at += space_mark.size();
    while (piece.substr(at).starts_with(space_mark));
    at = piece.find(space_mark, at);
  }
  if (begin < piece.size()) encode(piece.substr(begin));
}

}  // namespace memengine
