#include "engine/evaluation/corpus/token_windows.h"

#include <algorithm>
#include <filesystem>

#include "engine/evaluation/corpus/corpus_shards.h"
#include "io/shards/loader.h"
#include "io/shards/shard.h"
#include "io/text/text_source.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class ShardWindows : public TokenWindows {
 public:
  ShardWindows(const WindowSettings& settings, const CorpusShards& shards) {
    std::int64_t longest = 0;
    for (const fs::path& file : shards.files) longest = std::max(longest, Shard(file).tokens() - 1);
    length_ = std::min(settings.length, longest);
    if (length_ < 1) fail_input("{}: no two consecutive tokens to read", shards.what);
    ValidationReader::Options reading;
    reading.paths = shards.files;
    reading.seq_len = length_;
    reading.batch_size = 16;
    reading.vocab_size = settings.model.vocab_size;
    reading.document_start = settings.model.document_mask ? settings.tokenizer->bos_id() : -1;
    reading.tokenizer_hash = settings.tokenizer->hash();
    reader_ = std::make_unique<ValidationReader>(reading);
  }

  bool next(TokenWindow& window) override {
    if (at_ == batch_.batch_size) {
      if (!reader_->next(batch_)) return false;
      at_ = 0;
    }
    const std::int64_t first = at_++ * length_;
    window.tokens.assign(batch_.tokens + first, batch_.tokens + first + length_);
    window.tokens.push_back(batch_.targets[first + length_ - 1]);
    window.starts.assign(1, 0);
    for (std::int64_t i = 1; i < length_; ++i) {
      const auto start = static_cast<std::size_t>(batch_.doc_start[first + i]);
      if (start != window.starts.back()) window.starts.push_back(start);
    }
    return true;
  }

  std::int64_t count() const override { return reader_->sequences(); }

 private:
  std::int64_t length_ = 0, at_ = 0;
  std::unique_ptr<ValidationReader> reader_;
  Batch batch_;
};

class TextWindows : public TokenWindows {
 public:
  TextWindows(const WindowSettings& settings, const std::string& path)
      : length_(static_cast<std::size_t>(settings.length)) {
    TextOptions reading;
    reading.bad_lines_option.clear();
    TextSource texts({path}, reading);
    const Tokenizer& tokenizer = *settings.tokenizer;
    for (std::string text; texts.next(text);) {
      if (settings.model.document_mask) documents_.push_back(tokens_.size());
      const auto ids = tokenizer.encode(text, settings.add_bos && tokenizer.bos_id() >= 0,
                                        settings.add_eos && tokenizer.eos_id() >= 0);
      tokens_.insert(tokens_.end(), ids.begin(), ids.end());
      bytes_ += static_cast<std::int64_t>(text.size());
    }
    if (tokens_.size() < 2) fail_input("{}: no two consecutive tokens to read", path);
  }

  bool next(TokenWindow& window) override {
    if (at_ + 1 >= tokens_.size()) return false;
    const std::size_t end = std::min(at_ + length_ + 1, tokens_.size());
    const auto token = [&](std::size_t i) {
      return tokens_.begin() + static_cast<std::ptrdiff_t>(i);
    };
    window.tokens.assign(token(at_), token(end));
    window.starts.assign(1, 0);
    auto document = std::upper_bound(documents_.begin(), documents_.end(), at_);
    for (; document != documents_.end() && *document + 1 < end; ++document) {
      window.starts.push_back(*document - at_);
    }
    at_ += length_;
    return true;
  }

  std::int64_t count() const override {
    return static_cast<std::int64_t>((tokens_.size() - 1 + length_ - 1) / length_);
  }
  std::int64_t text_bytes() const override { return bytes_; }

 private:
  std::size_t length_, at_ = 0;
  std::vector<std::int32_t> tokens_;
  std::vector<std::size_t> documents_;  // where each begins
  std::int64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<TokenWindows> open_token_windows(const WindowSettings& settings,
                                                 const std::string& path) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  const bool is_text = !path.empty() && (is_folder ? shard_folders(path).empty()
                                                   : fs::exists(path, ignored) &&
                                                         fs::path(path).extension() != ".bin");
  if (is_text) return std::make_unique<TextWindows>(settings, path);
  const std::vector<std::string> named(path.empty() ? 0 : 1, path);
  const CorpusShards shards =
      find_corpus({named, "", "val", settings.key, settings.model_name, settings.run});
  return std::make_unique<ShardWindows>(settings, shards);
}

}  // namespace memengine
