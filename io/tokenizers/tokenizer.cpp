// The parts all tokenizers share, the byte tokenizer, and the factory.
#include "io/tokenizers/tokenizer.h"

#include <xxhash.h>

#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/lfs_pointer.h"
#include "io/text/utf8.h"
#include "io/tokenizers/hugging_face/tokenizer_json.h"
#include "io/tokenizers/sentencepiece/sentencepiece.h"
#include "io/tokenizers/tiktoken/tiktoken.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// The largest in use, of a quarter of a million tokens, have 5 to 17 MB.
constexpr std::uint64_t max_tokenizer_bytes = 128u << 20;

// Every byte is its own token: the vocabulary that fits any text and any language.
class BytesTokenizer final : public Tokenizer {
 public:
  BytesTokenizer() : Tokenizer("bytes", tokenizer_file_hash("bytes")) {}

  void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const override {
    const std::size_t first = ids.size();
    ids.resize(first + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      ids[first + i] = static_cast<unsigned char>(text[i]);
    }
  }

  std::string token_bytes(std::int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      fail_input("token id {} is outside the byte tokenizer's vocabulary of {}", id, vocab_size());
    }
    return id < 256 ? std::string(1, static_cast<char>(id)) : std::string();
  }

  std::vector<SpecialToken> special_tokens() const override {
    return {{"<bos>", 256}, {"<eos>", 257}};
  }
  std::int32_t vocab_size() const override { return 258; }
  std::int32_t bos_id() const override { return 256; }
  std::int32_t eos_id() const override { return 257; }
};

}  // namespace

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool bos, bool eos) const {
  if (bos && bos_id() < 0)
    fail_input("the {} tokenizer has no BOS token; set add_bos to false", name_);
  if (eos && eos_id() < 0)
    fail_input("the {} tokenizer has no EOS token; set add_eos to false", name_);
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 2);
  if (bos) ids.push_back(bos_id());
  encode_append(text, ids);
  if (eos) ids.push_back(eos_id());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string bytes;
  for (const std::int32_t id : ids) bytes += token_bytes(id);
  return replace_invalid_utf8(bytes);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& name,
                                          const std::filesystem::path& path) {
  if (name == "bytes") return std::make_unique<BytesTokenizer>();
  if (name == "sp") return load_sentencepiece(path);
  if (name == "tiktoken") return load_tiktoken(path);
  if (name == "hf") return load_tokenizer_json(path);
  fail_input("unknown tokenizer '{}': it must be sp, tiktoken, hf or bytes", name);
}

const char* tokenizer_file_name(std::string_view tokenizer_name) {
  return tokenizer_name == "hf" ? tokenizer_json_name : "tokenizer.model";
}

std::vector<TokenizerFile> tokenizer_files(const std::string& name,
                                           const std::filesystem::path& path) {
  std::vector<TokenizerFile> files = {{tokenizer_file_name(name), read_tokenizer_file(path)}};
  const std::filesystem::path config = path.parent_path() / tokenizer_config_name;
  if (name == "hf" && is_there(config)) {
    files.push_back({tokenizer_config_name, read_text_file(config, max_tokenizer_bytes)});
  }
  return files;
}

std::string read_tokenizer_file(const std::filesystem::path& path) {
  if (path.empty()) fail_input("this tokenizer needs a model file: set data.tokenizer.path");
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    fail_input("tokenizer model {} is a folder; name the file itself", path.string());
  }
  std::string bytes = read_text_file(path, max_tokenizer_bytes);
  if (bytes.empty()) fail_input("tokenizer model {} is empty", path.string());
  refuse_lfs_pointer(path.string(), bytes);
  return bytes;
}

std::string tokenizer_file_hash(std::string_view bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

}  // namespace memengine
