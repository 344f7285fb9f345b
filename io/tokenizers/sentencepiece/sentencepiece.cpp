// The library reads the model and decodes; segmentation is ours for the models that are in use (see
// sentencepiece_model.h and sentencepiece_unigram.h), and so is the meaning of a single piece.
//
// SentencePiece writes a space as U+2581 and a byte without a piece of its own as <0xHH>; a piece's
// text turns both back. The model puts one space before every text (if it was trained so), which
// `decode` takes away again and `token_bytes`, knowing no neighbours, keeps.
#include "io/tokenizers/sentencepiece/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <exception>

#include "io/text/one_line.h"
#include "io/text/utf8.h"
#include "io/tokenizers/sentencepiece/sentencepiece_model.h"
#include "io/tokenizers/sentencepiece/sentencepiece_normalize.h"
#include "io/tokenizers/sentencepiece/sentencepiece_proto.h"
#include "io/tokenizers/sentencepiece/sentencepiece_unigram.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& where, const std::string& model)
      : Tokenizer("sp", tokenizer_file_hash(model)) {
    // The library reads both maps without a look at where they end.
    const auto proto = parse_sentencepiece_proto(model);
    if (!proto) fail_input("{} is not a SentencePiece model", where);
    for (const std::string_view map : {proto->character_map, proto->decoding_map}) {
      if (!map.empty() && !is_sound_character_map(map)) {
        fail_input("{}: the SentencePiece model's map of characters is damaged", where);
      }
    }
    bool loaded = false;
    try {
      loaded = processor_.LoadFromSerializedProto(model).ok();
    } catch (const std::exception&) {  // its trie throws at pieces that begin with a zero byte
    }
    if (!loaded || processor_.GetPieceSize() <= 0) {
      fail_input("{} is not a SentencePiece model", where);
    }
    bpe_ = SentencePieceBpe::parse(model);
    if (!bpe_) unigram_ = SentencePieceUnigram::parse(model);
    pieces_.resize(static_cast<std::size_t>(processor_.GetPieceSize()));
    for (std::int32_t id = 0; id < vocab_size(); ++id) pieces_[id] = piece_bytes(id);
  }

  void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const override {
    encode_part(text, ids, /*continues=*/false);
  }
  void encode_continued(std::string_view text, std::vector<std::int32_t>& ids) const override {
    encode_part(text, ids, /*continues=*/true);
  }

  std::vector<SpecialToken> special_tokens() const override {
    std::vector<SpecialToken> tokens;
    for (std::int32_t id = 0; id < vocab_size(); ++id) {
      if (processor_.IsControl(id) || processor_.IsUnknown(id)) {
        tokens.push_back({replace_invalid_utf8(processor_.IdToPiece(id)), id});
      }
    }
    return tokens;
  }

 private:
  void encode_part(std::string_view text, std::vector<std::int32_t>& ids, bool continues) const {
    std::string repaired;
    if (find_invalid_utf8(text) != std::string_view::npos) {
      repaired = replace_invalid_utf8(text);
      text = repaired;
    }
    const std::size_t before = ids.size();
    if (bpe_) {
      bpe_->encode_append(text, ids, continues);
    } else if (unigram_) {
      unigram_->encode_append(text, ids);
    } else {
      std::vector<int> encoded;
      const auto status = processor_.Encode({text.data(), text.size()}, &encoded);
      if (!status.ok()) {
        fail_input("the SentencePiece model cannot encode this text: {}",
                   one_line(status.ToString(), 200));
      }
      ids.insert(ids.end(), encoded.begin(), encoded.end());
    }
    // In a damaged file we may read pieces where the library reads none.
    for (std::size_t i = before; i < ids.size(); ++i) check(ids[i]);
  }

 public:
  std::string decode(std::span<const std::int32_t> ids) const override {
    for (const std::int32_t id : ids) check(id);
    std::string text;
    const auto status = processor_.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
    if (!status.ok())
      fail_input("the SentencePiece model cannot decode: {}", one_line(status.ToString(), 200));
    return replace_invalid_utf8(text);
  }

  std::string token_bytes(std::int32_t id) const override {
    check(id);
    return pieces_[static_cast<std::size_t>(id)];
  }

  std::int32_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::int32_t bos_id() const override { return processor_.bos_id(); }
  std::int32_t eos_id() const override { return processor_.eos_id(); }

 private:
  void check(std::int32_t id) const {
    if (id < 0 || id >= vocab_size()) {
      fail_input("token id {} is outside the tokenizer's vocabulary of {}", id, vocab_size());
    }
  }

  std::string piece_bytes(std::int32_t id) const {
    if (processor_.IsControl(id)) return {};
    if (processor_.IsUnknown(id)) return " \xE2\x81\x87 ";  // what the library's decoder shows
    const std::string& piece = processor_.IdToPiece(id);
    if (processor_.IsByte(id) && piece.size() == 6) {
      return std::string(1, static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
    }
    std::string text;
    for (std::size_t i = 0; i < piece.size();) {
      if (piece.compare(i, 3, "\xE2\x96\x81") == 0) {
        text += ' ';
        i += 3;
      } else {
        text += piece[i++];
      }
    }
    return text;
  }

  sentencepiece::SentencePieceProcessor processor_;
  // At most one of them: the model's kind, when it is one that we segment by ourselves.
  std::unique_ptr<SentencePieceBpe> bpe_;
  std::unique_ptr<SentencePieceUnigram> unigram_;
  std::vector<std::string> pieces_;  // each token's text, by id
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path) {
  return parse_sentencepiece(path.string(), read_tokenizer_file(path));
}

std::unique_ptr<Tokenizer> parse_sentencepiece(const std::string& where, const std::string& model) {
  return std::make_unique<SentencePieceTokenizer>(where, model);
}

}  // namespace memengine
