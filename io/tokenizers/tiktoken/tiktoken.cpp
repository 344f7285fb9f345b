// Reads the rank file strictly, and encodes: repair the UTF-8, split, merge inside each piece.
#include "io/tokenizers/tiktoken/tiktoken.h"

#include <array>
#include <charconv>

#include "io/text/utf8.h"
#include "io/tokenizers/tiktoken/tiktoken_bpe.h"
#include "io/tokenizers/tiktoken/tiktoken_split.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::int32_t special_tokens_count = 256;

// Decodes standard base64 with padding; false when `text` is not that.
bool decode_base64(std::string_view text, std::string& bytes) {
  static const std::array<std::int8_t, 256> digits = [] {
    std::array<std::int8_t, 256> table;
    table.fill(-1);
    constexpr std::string_view alphabet =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < alphabet.size(); ++i) {
      table[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
    }
    return table;
  }();
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool pad = i + padding >= text.size();
    const int digit = pad ? 0 : digits[static_cast<unsigned char>(text[i])];
    if (digit < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if (i % 4 == 3) {
      for (const int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xFF);
      bits = 0;
    }
  }
  bytes.resize(bytes.size() - padding);
  return true;
}

class TiktokenTokenizer final : public Tokenizer {
 public:
  TiktokenTokenizer(const std::string& where, std::string_view file)
      : Tokenizer("tiktoken", tokenizer_file_hash(file)) {
    std::string bytes;
    for (std::size_t line = 1; !file.empty(); ++line) {
      const std::size_t end = std::min(file.find('\n'), file.size());
      std::string_view row = file.substr(0, end);
      file.remove_prefix(std::min(end + 1, file.size()));
      if (row.ends_with('\r')) row.remove_suffix(1);
      if (row.empty()) continue;
      const std::size_t space = std::min(row.find(' '), row.size() - 1);
      std::int64_t rank = -1;
      const char* last = row.data() + row.size();
      const auto number = std::from_chars(row.data() + space + 1, last, rank);
      if (!decode_base64(row.substr(0, space), bytes) || number.ec != std::errc() ||
          number.ptr != last) {
        fail_input("{}:{}: not a line \"base64 rank\"; is this a tiktoken rank file?", where, line);
      }
      if (rank != vocabulary_.size()) {
        fail_input("{}:{}: rank {} where {} is next", where, line, rank, vocabulary_.size());
      }
      if (rank >= max_ranks) fail_input("{}:{}: more than {} ranks", where, line, max_ranks);
      if (!vocabulary_.add(bytes)) fail_input("{}:{}: a token that came before", where, line);
    }
    for (int value = 0; value < 256; ++value) {
      const char byte = static_cast<char>(value);
      if (vocabulary_.find({&byte, 1}) < 0) {
        fail_input("{}: byte 0x{:02x} has no rank, so not every text could be encoded", where,
                   value);
      }
    }
  }

  void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const override {
    std::string repaired;
    if (find_invalid_utf8(text) != std::string_view::npos) {
      repaired = replace_invalid_utf8(text);
      text = repaired;
    }
    TiktokenPieces pieces(text);
    for (std::string_view piece; !(piece = pieces.next()).empty();) {
      vocabulary_.encode_piece(piece, ids);
    }
  }

  std::string token_bytes(std::int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      fail_input("token id {} is outside the tokenizer's vocabulary of {}", id, vocab_size());
    }
    return id < vocabulary_.size() ? std::string(vocabulary_.bytes(id)) : std::string();
  }

  // Llama 3's.
  std::vector<SpecialToken> special_tokens() const override {
    std::vector<std::string> names = {"<|begin_of_text|>",
                                      "<|end_of_text|>",
                                      "<|reserved_special_token_0|>",
                                      "<|reserved_special_token_1|>",
                                      "<|reserved_special_token_2|>",
                                      "<|reserved_special_token_3|>",
                                      "<|start_header_id|>",
                                      "<|end_header_id|>",
                                      "<|reserved_special_token_4|>",
                                      "<|eot_id|>"};
    for (int i = 5; i < special_tokens_count - 5; ++i) {
      names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
    }
    std::vector<SpecialToken> tokens;
    for (const std::string& name : names) {
      tokens.push_back({name, vocabulary_.size() + static_cast<std::int32_t>(tokens.size())});
    }
    return tokens;
  }

  std::int32_t vocab_size() const override { return vocabulary_.size() + special_tokens_count; }
  std::int32_t bos_id() const override { return vocabulary_.size(); }
  std::int32_t eos_id() const override { return vocabulary_.size() + 1; }

 private:
  static constexpr std::int64_t max_ranks = 1 << 24;

  BpeVocabulary vocabulary_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_tiktoken(const std::filesystem::path& path) {
  return parse_tiktoken(path.string(), read_tokenizer_file(path));
}

std::unique_ptr<Tokenizer> parse_tiktoken(const std::string& where, std::string_view file) {
  return std::make_unique<TiktokenTokenizer>(where, file);
}

}  // namespace memengine
