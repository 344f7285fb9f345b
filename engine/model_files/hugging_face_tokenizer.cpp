// Vocabularies and merges as their library wants them.
//
// A BPE there is a list of merges in the order of their rank, where ours is a list of tokens: every
// way to put a token together from two others is a merge (for ranks, the one way that their own
// merging takes).
#include "engine/model_files/hugging_face_tokenizer.h"

#include <algorithm>
#include <climits>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "io/files/file.h"
#include "io/text/utf8.h"
#include "io/tokenizers/byte_letters.h"
#include "io/tokenizers/sentencepiece/sentencepiece_proto.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* bytes_key = "memengine_bytes";  // in tokenizer_config.json

// Llama 3's way to cut a text (tiktoken_split.h).
constexpr const char* split_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json sequence(const char* list, Json parts) {
  return {{"type", "Sequence"}, {list, std::move(parts)}};
}

Json bpe_model(Json vocabulary, Json merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

// Where the characters of a text begin.
std::vector<std::size_t> character_starts(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text.substr(at)).length) {
    starts.push_back(at);
  }
  return starts;
}

// --- SentencePiece -------------------------------------------------------------------------------

struct Merge {
  std::string left, right;
  float score = 0;
};

Json sentencepiece_model(const SentencePieceProto& proto) {
  std::unordered_map<std::string_view, std::int32_t> ids;
  Json vocabulary = Json::object();
  for (std::size_t id = 0; id < proto.pieces.size(); ++id) {
    vocabulary[std::string(proto.pieces[id].text)] = id;
    if (proto.pieces[id].type == SentencePieceProto::normal) {
      ids.emplace(proto.pieces[id].text, static_cast<std::int32_t>(id));
    }
  }
  std::vector<Merge> merges;
  for (const SentencePieceProto::Piece& piece : proto.pieces) {
    if (piece.type != SentencePieceProto::normal) continue;
    std::vector<std::pair<std::pair<std::int32_t, std::int32_t>, std::size_t>> cuts;
    for (const std::size_t at : character_starts(piece.text)) {
      const auto left = ids.find(piece.text.substr(0, at));
      const auto right = ids.find(piece.text.substr(at));
      if (at == 0 || left == ids.end() || right == ids.end()) continue;
      cuts.push_back({{left->second, right->second}, at});
    }
    std::sort(cuts.begin(), cuts.end());
    for (const auto& [parts, at] : cuts) {
      merges.push_back(
          {std::string(piece.text.substr(0, at)), std::string(piece.text.substr(at)), piece.score});
    }
  }
  std::stable_sort(merges.begin(), merges.end(),
                   [](const Merge& a, const Merge& b) { return a.score > b.score; });
  Json list = Json::array();
  for (const Merge& merge : merges) list.push_back(merge.left + " " + merge.right);
  Json model = bpe_model(std::move(vocabulary), std::move(list));
  model["fuse_unk"] = model["byte_fallback"] = true;
  for (const SentencePieceProto::Piece& piece : proto.pieces) {
    if (piece.type == SentencePieceProto::unknown) model["unk_token"] = std::string(piece.text);
  }
  return model;
}

void fill_sentencepiece(Json& json, const SentencePieceProto& proto) {
  const std::string mark(sentencepiece_space);
  Json normalizers = Json::array();
  if (proto.space_in_front) normalizers.push_back({{"type", "Prepend"}, {"prepend", mark}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}});
  json["normalizer"] = sequence("normalizers", normalizers);
  Json decoders =
      Json::array({{{"type", "Replace"}, {"pattern", {{"String", mark}}}, {"content", " "}},
                   {{"type", "ByteFallback"}},
                   {{"type", "Fuse"}}});
  if (proto.space_in_front) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  json["decoder"] = sequence("decoders", decoders);
  json["model"] = sentencepiece_model(proto);
}

// --- Bytes and ranks -----------------------------------------------------------------------------

// The two tokens of which merging by rank makes `token`, and nothing of a higher rank.
std::pair<std::string, std::string> last_merge(
    std::string_view token, const std::unordered_map<std::string, std::int32_t>& ranks,
    std::int32_t own_rank) {
  std::vector<std::string> parts;
  for (const char byte : token) parts.emplace_back(1, byte);
  while (parts.size() > 2) {
    std::size_t best = parts.size();
    std::int32_t lowest = own_rank;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found != ranks.end() && found->second < lowest) lowest = found->second, best = i;
    }
    if (best == parts.size()) return {};  // never made by merging, only found whole
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  return {parts[0], parts[1]};
}

void fill_bytes(Json& json, const Tokenizer& tokenizer, std::int32_t tokens) {
  std::unordered_map<std::string, std::int32_t> ranks;
  Json vocabulary = Json::object(), merges = Json::array();
  for (std::int32_t id = 0; id < tokens; ++id) {
    const std::string bytes = tokenizer.token_bytes(id);
    vocabulary[byte_letters(bytes)] = id;
    ranks.emplace(bytes, id);
  }
  for (std::int32_t id = 0; id < tokens; ++id) {
    const std::string bytes = tokenizer.token_bytes(id);
    if (bytes.size() < 2) continue;
    const auto [left, right] = last_merge(bytes, ranks, id);
    if (!left.empty()) merges.push_back(byte_letters(left) + " " + byte_letters(right));
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}};
  Json cut = Json::array();
  if (tokenizer.name() == "tiktoken") {
    cut.push_back({{"type", "Split"},
                   {"pattern", {{"Regex", split_pattern}}},
                   {"behavior", "Isolated"},
                   {"invert", false}});
  }
  cut.push_back(byte_level);
  json["pre_tokenizer"] = sequence("pretokenizers", cut);
  json["decoder"] = byte_level;
  json["model"] = bpe_model(std::move(vocabulary), std::move(merges));
  json["model"]["ignore_merges"] = true;  // a whole piece that is a token is that token
}

// --- What all share ------------------------------------------------------------------------------

std::string name_of(const Tokenizer& tokenizer, std::int32_t id) {
  for (const SpecialToken& token : tokenizer.special_tokens()) {
    if (token.id == id) return token.text;
  }
  return {};
}

// Puts BOS in front of a text.
Json bos_in_front(const std::string& bos, std::int32_t id) {
  const Json token = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto text = [](const char* which, int type) {
    return Json{{"Sequence", {{"id", which}, {"type_id", type}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({token, text("A", 0)})},
          {"pair", Json::array({token, text("A", 0), text("B", 1)})},
          {"special_tokens", {{bos, {{"id", bos}, {"ids", {id}}, {"tokens", {bos}}}}}}};
}

}  // namespace

HuggingFaceTokenizer hugging_face_tokenizer(const Tokenizer& tokenizer,
                                            const std::string& model_file, bool add_bos,
                                            std::int64_t max_length) {
  const std::string bos = name_of(tokenizer, tokenizer.bos_id());
  const std::string eos = name_of(tokenizer, tokenizer.eos_id());
  const bool is_sentencepiece = tokenizer.name() == "sp";
  const bool has_bos = add_bos && !bos.empty();

  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", has_bos},
                 {"add_eos_token", false},
                 {"bos_token", bos.empty() ? Json() : Json(bos)},
                 {"eos_token", eos.empty() ? Json() : Json(eos)},
                 {"clean_up_tokenization_spaces", false},
                 {"model_input_names", {"input_ids", "attention_mask"}},
                 {"model_max_length", max_length}};
  if (tokenizer.name() == "bytes") config[bytes_key] = true;

  Json json = {{"version", "1.0"},          {"truncation", nullptr},
               {"padding", nullptr},        {"added_tokens", Json::array()},
               {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
               {"post_processor", nullptr}, {"decoder", nullptr},
               {"model", nullptr}};
  const std::vector<SpecialToken> special = tokenizer.special_tokens();
  for (const SpecialToken& token : special) {
    json["added_tokens"].push_back({{"id", token.id},
                                    {"content", token.text},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  if (has_bos) json["post_processor"] = bos_in_front(bos, tokenizer.bos_id());

  HuggingFaceTokenizer result;
  if (tokenizer.name() == "hf") {  // it goes along as it is
    result.config = config.dump(2) + "\n";
    return result;
  }
  if (!is_sentencepiece) {
    const auto tokens = tokenizer.vocab_size() - static_cast<std::int32_t>(special.size());
    fill_bytes(json, tokenizer, tokens);
    result.json = json.dump();
  } else {
    const auto proto = parse_sentencepiece_proto(model_file);
    for (std::size_t id = 0; proto && id < proto->pieces.size(); ++id) {
      if (proto->pieces[id].type == SentencePieceProto::unknown) {
        config["unk_token"] = std::string(proto->pieces[id].text);
      }
    }
    const bool plain = proto && proto->model_type == SentencePieceProto::bpe && proto->byte_ids() &&
                       proto->character_map.empty() && !proto->trims && proto->escapes &&
                       !proto->space_as_suffix;
    if (plain) {
      fill_sentencepiece(json, *proto);
      result.json = json.dump();
    } else {
      config.erase("tokenizer_class");
    }
  }
  result.config = config.dump(2) + "\n";
  return result;
}

TokenizerSettings read_tokenizer_settings(const std::filesystem::path& tokenizer_config) {
  TokenizerSettings settings;
  const auto json =
      nlohmann::json::parse(read_text_file(tokenizer_config, 16 << 20), nullptr, false);
  const auto refuse = [&](const char* what) {
    fail_input("{}: {}", tokenizer_config.string(), what);
  };
  if (!json.is_object()) refuse("not a JSON object");
  const auto flag = [&](const char* key, bool otherwise) {
    const auto found = json.find(key);
    if (found == json.end() || found->is_null()) return otherwise;
    if (!found->is_boolean()) {
      fail_input("{}: '{}' is of the wrong type", tokenizer_config.string(), key);
    }
    return found->get<bool>();
  };
  settings.add_bos = flag("add_bos_token", true);
  settings.is_bytes = flag(bytes_key, false);
  const auto kind = json.find("tokenizer_class");
  if (kind != json.end() && kind->is_string() &&
      kind->get<std::string>().starts_with("LlamaTokenizer")) {
    settings.space =
        flag("legacy", false) ? SpaceInFront::unless_a_space : SpaceInFront::first_unless_a_space;
  }
  return settings;
}

}  // namespace memengine
