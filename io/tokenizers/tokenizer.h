// Text to token ids and back: one interface, four kinds.
//
//   sp        a SentencePiece model file (Llama 2)
//   tiktoken  a file of BPE ranks with Llama 3's split pattern and special tokens
//   hf        a tokenizer.json (hugging_face/tokenizer_json.h)
//   bytes     the 256 byte values, then <bos> 256 and <eos> 257; needs no file
//
// Names and BOS/EOS behaviour follow Meta Lingua's tokenizers: a text alone never yields a special
// token; `bos` and `eos` put one id in front and one at the end. Tokenizers are immutable after
// loading, so one object may be used from many threads at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

// A token that a text alone never yields, and the name by which other libraries' tokenizers read it
// in a text: "</s>".
struct SpecialToken {
  std::string text;
  std::int32_t id = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Appends the ids of `text` to `ids`. Any bytes are accepted: what is not UTF-8 is treated as if
  // it had first been replaced by U+FFFD (except by `bytes`, which keeps every byte).
  virtual void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const = 0;

  // The same for a text that continues another one: a SentencePiece model of Llama's kind puts no
  // space in front of it.
  virtual void encode_continued(std::string_view text, std::vector<std::int32_t>& ids) const {
    encode_append(text, ids);
  }

  // Whether it knows by itself how to find special tokens in a text; then this does (a kind that
  // does not encodes a text as plain letters).
  virtual bool reads_special_tokens() const { return false; }
  virtual void encode_with_special(std::string_view text, std::vector<std::int32_t>& ids) const {
    encode_append(text, ids);
  }

  // BOS, EOS, unknown, and the other control tokens, with their names.
  virtual std::vector<SpecialToken> special_tokens() const { return {}; }

  // The text of `ids`. BOS, EOS and other control tokens have no text; an id outside the vocabulary
  // is an input error. The result is valid UTF-8: stray bytes become U+FFFD. Unless a kind of
  // tokenizer knows better, the bytes of the tokens one after the other.
  virtual std::string decode(std::span<const std::int32_t> ids) const;

  // The bytes that this one token contributes to a longer text, for printing while generating:
  // concatenated pieces are the text (show up to complete_utf8_prefix). Control tokens give "".
  virtual std::string token_bytes(std::int32_t id) const = 0;

  virtual std::int32_t vocab_size() const = 0;
  virtual std::int32_t bos_id() const = 0;  // -1 when the model has none
  virtual std::int32_t eos_id() const = 0;  // -1 when the model has none

  // The ids of `text`, with BOS in front and EOS at the end when asked for.
  // Asking for one that the model does not have is an input error.
  std::vector<std::int32_t> encode(std::string_view text, bool bos, bool eos) const;

  // "sp", "tiktoken", "hf" or "bytes".
  const std::string& name() const { return name_; }

  // XXH3-64 of the model file as 16 hexadecimal digits. Shards carry it, so that a run cannot train
  // on ids that mean something else.
  const std::string& hash() const { return hash_; }

 protected:
  Tokenizer(std::string name, std::string hash) : name_(std::move(name)), hash_(std::move(hash)) {}

 private:
  std::string name_, hash_;
};

// Loads tokenizer `name` from its model file (`path` is ignored for `bytes`). An unknown name, a
// missing file and a file that is not such a model are input errors.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& name,
                                          const std::filesystem::path& path);

// What goes along with what was made with a tokenizer: names in a folder and contents; the first is
// the file to load. A tokenizer.json takes the tokenizer_config.json beside it along.
struct TokenizerFile {
  std::string name, bytes;
};
std::vector<TokenizerFile> tokenizer_files(const std::string& name,
                                           const std::filesystem::path& path);

// The first of these names: tokenizer.json for hf, else tokenizer.model.
const char* tokenizer_file_name(std::string_view tokenizer_name);

// What the loaders share: the whole model file, and the hash that names it.
std::string read_tokenizer_file(const std::filesystem::path& path);
std::string tokenizer_file_hash(std::string_view bytes);

}  // namespace memengine
