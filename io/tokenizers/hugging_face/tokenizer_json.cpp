// The parts put together, in the order of the library: added tokens in the text as it is, the
// normalizer, added tokens in what it made, the pre-tokenizer, BPE inside each piece.
#include "io/tokenizers/hugging_face/tokenizer_json.h"

#include <algorithm>
#include <optional>

#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/text/one_line.h"
#include "io/text/utf8.h"
#include "io/tokenizers/hugging_face/added_tokens.h"
#include "io/tokenizers/hugging_face/decoder.h"
#include "io/tokenizers/hugging_face/merge_bpe.h"
#include "io/tokenizers/hugging_face/normalizer.h"
#include "io/tokenizers/hugging_face/post_processor.h"
#include "io/tokenizers/hugging_face/pre_tokenizer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::uint64_t max_config_bytes = 16 << 20;

// In the order of preference, where no file says which.
constexpr const char* usual_bos[] = {
    "<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|im_start|>", "<|endoftext|>"};
constexpr const char* usual_eos[] = {"</s>", "<|end_of_text|>", "<eos>", "<|im_end|>",
                                     "<|endoftext|>"};

template <typename Part>
Part part_of(const JsonNode& root, const char* key, Part otherwise = {}) {
  return root.has(key) ? Part(root.at(key)) : otherwise;
}

class JsonTokenizer final : public Tokenizer {
 public:
  JsonTokenizer(const std::string& where, std::string_view file, const JsonNode& root,
                std::string_view config)
      : Tokenizer("hf", tokenizer_file_hash(file)),
        normalizer_(part_of<Normalizer>(root, "normalizer")),
        pre_tokenizer_(part_of<PreTokenizer>(root, "pre_tokenizer")),
        model_(root.at("model"), pre_tokenizer_.byte_level()),
        decoder_(part_of<Decoder>(root, "decoder", Decoder(pre_tokenizer_.byte_level()))) {
    if (root.has("post_processor")) post_ = read_post_processor(root.at("post_processor"));
    texts_ = model_.texts();
    if (root.has("added_tokens")) add_tokens(root.at("added_tokens"));
    for (const auto* ids : {&post_.front, &post_.back}) {
      for (const std::int32_t id : *ids) {
        if (id >= vocab_size()) {
          root.refuse(
              fmt::format("the post-processor's token {} is not among {}", id, vocab_size()));
        }
      }
    }
    if (texts_.empty()) root.refuse("a tokenizer without a token");
    is_special_.resize(texts_.size());
    for (std::size_t id = 0; id < texts_.size(); ++id) {
      bytes_.push_back(is_special_[id] ? "" : decoder_.bytes_of(texts_[id]));
    }
    for (const AddedToken& token : added_) {
      if (!token.special) bytes_[static_cast<std::size_t>(token.id)] = token.text;
    }
    if (post_.front.size() == 1) bos_ = post_.front[0];
    if (post_.back.size() == 1) eos_ = post_.back[0];
    if (bos_ < 0) bos_ = usual(usual_bos);
    if (eos_ < 0) eos_ = usual(usual_eos);
    if (!config.empty()) read_config(where, config);
  }

  void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const override {
    encode_text(text, false, ids);
  }
  bool reads_special_tokens() const override { return true; }
  void encode_with_special(std::string_view text, std::vector<std::int32_t>& ids) const override {
    encode_text(text, true, ids);
  }

  std::vector<SpecialToken> special_tokens() const override {
    std::vector<SpecialToken> tokens;
    for (const AddedToken& token : added_) {
      if (token.special) tokens.push_back({token.text, token.id});
    }
    return tokens;
  }

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string bytes, run;  // `run`: of tokens that are one byte each
    const auto end_run = [&] {
      if (find_invalid_utf8(run) != run.npos) {
        const std::size_t count = run.size();
        run.clear();
        for (std::size_t i = 0; i < count; ++i) append_utf8(run, replacement_character);
      }
      bytes += run;
      run.clear();
    };
    for (const std::int32_t id : ids) {
      const std::string text = token_bytes(id);
      if (decoder_.is_byte(texts_[static_cast<std::size_t>(id)])) {
        run += text;
        continue;
      }
      if (is_special_[static_cast<std::size_t>(id)]) continue;
      end_run();
      bytes += text;
    }
    end_run();
    return replace_invalid_utf8(bytes.substr(decoder_.not_text(bytes)));
  }

  std::string token_bytes(std::int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      fail_input("token id {} is outside the tokenizer's vocabulary of {}", id, vocab_size());
    }
    return bytes_[static_cast<std::size_t>(id)];
  }

  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(texts_.size()); }
  std::int32_t bos_id() const override { return bos_; }
  std::int32_t eos_id() const override { return eos_; }

 private:
  void add_tokens(const JsonNode& node) {
    added_ = read_added_tokens(node);
    for (const AddedToken& token : added_) {
      const std::int32_t id = model_.find_text(token.text);
      if (id >= 0 && id != token.id) {
        node.refuse(fmt::format("'{}' is number {} here and {} in the vocabulary",
                                one_line(token.text), token.id, id));
      }
      const auto at = static_cast<std::size_t>(token.id);
      if (at >= texts_.size() + added_.size() + 65536) {
        node.refuse(fmt::format("token {} after {} tokens", at, texts_.size()));
      }
      if (at < texts_.size() && id < 0 && !texts_[at].empty()) {
        node.refuse(fmt::format("'{}' and '{}' have the number {}", one_line(token.text),
                                one_line(texts_[at]), at));
      }
      if (at >= texts_.size()) texts_.resize(at + 1);
      if (at >= is_special_.size()) is_special_.resize(at + 1);
      texts_[at] = token.text;
      is_special_[at] = token.special;
    }
    for (const bool special : {true, false}) {
      for (const AddedToken& token : added_) {
        if (token.special != special) continue;
        if (token.normalized) {
          normalized_.add(token, normalizer_.normalize(token.text));
        } else {
          plain_.add(token, token.text);
        }
      }
    }
  }

  std::int32_t special_of(std::string_view name) const {
    for (const AddedToken& token : added_) {
      if (token.text == name) return token.id;
    }
    return -1;
  }

  template <std::size_t count>
  std::int32_t usual(const char* const (&names)[count]) const {
    for (const char* name : names) {
      if (const std::int32_t id = special_of(name); id >= 0) return id;
    }
    return -1;
  }

  // bos_token and eos_token: a name, or an object with its content; null: there is none.
  void read_config(const std::string& where, std::string_view config) {
    simdjson::dom::parser parser;
    const std::string place = where + ", " + tokenizer_config_name;
    const JsonNode root = parse_json(parser, place, config);
    for (auto& [key, id] : {std::pair("bos_token", &bos_), std::pair("eos_token", &eos_)}) {
      if (!root.has(key)) {
        if (root.is_null(key)) *id = -1;
        continue;
      }
      const JsonNode node = root.at(key);
      const std::string_view name = node.is_text() ? node.text() : node.text("content");
      *id = special_of(name);
      if (*id < 0) *id = model_.find_text(name);
      if (*id < 0) node.refuse(fmt::format("'{}' is no token", one_line(name)));
    }
  }

  void encode_text(std::string_view text, bool special, std::vector<std::int32_t>& ids) const {
    std::string repaired;
    if (find_invalid_utf8(text) != text.npos) {
      repaired = replace_invalid_utf8(text);
      text = repaired;
    }
    const PreTokenizer::Sink sink = [&](std::string_view piece) {
      model_.encode_piece(piece, ids);
    };
    std::vector<AddedTokenFinder::Part> parts, normal_parts;
    plain_.cut(text, special, parts);
    std::string normal;
    for (const auto& part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      std::string_view rest = part.text;
      const bool first = rest.data() == text.data();
      if (!normalizer_.empty()) rest = normal = normalizer_.normalize(rest);
      if (normalized_.empty()) {
        pre_tokenizer_.cut(rest, first, sink);
        continue;
      }
      normal_parts.clear();
      normalized_.cut(rest, special, normal_parts);
      for (const auto& inner : normal_parts) {
        if (inner.id >= 0) {
          ids.push_back(inner.id);
        } else {
          pre_tokenizer_.cut(inner.text, first && inner.text.data() == rest.data(), sink);
        }
      }
    }
  }

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  MergeBpe model_;
  Decoder decoder_;
  PostProcessor post_;
  std::vector<AddedToken> added_;
  AddedTokenFinder plain_, normalized_;
  std::vector<std::string> texts_, bytes_;  // by id
  std::vector<bool> is_special_;            // by id
  std::int32_t bos_ = -1, eos_ = -1;
};

std::string config_beside(const std::filesystem::path& path) {
  const std::filesystem::path config = path.parent_path() / tokenizer_config_name;
  return is_there(config) ? read_text_file(config, max_config_bytes) : std::string();
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::filesystem::path& path) {
  const std::string file = read_tokenizer_file(path);
  return parse_tokenizer_json(path.string(), file, config_beside(path));
}

std::unique_ptr<Tokenizer> parse_tokenizer_json(const std::string& where, std::string_view json,
                                                std::string_view config) {
  simdjson::dom::parser parser;
  const JsonNode root = parse_json(parser, where, json);
  return std::make_unique<JsonTokenizer>(where, json, root, config);
}

bool tokenizer_json_adds_bos(const std::filesystem::path& path) {
  simdjson::dom::parser parser;
  if (const std::string config = config_beside(path); !config.empty()) {
    const JsonNode root =
        parse_json(parser, (path.parent_path() / tokenizer_config_name).string(), config);
    if (root.has("add_bos_token")) return root.flag_or("add_bos_token", true);
  }
  const std::string file = read_tokenizer_file(path);
  const JsonNode root = parse_json(parser, path.string(), file);
  return root.has("post_processor") &&
         !read_post_processor(root.at("post_processor")).front.empty();
}

}  // namespace memengine
