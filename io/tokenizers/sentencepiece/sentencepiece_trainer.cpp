// Feeds texts to SentencePiece's trainer.
//
// The trainer wants lines and ignores those longer than a few kilobytes, so texts are cut at
// newlines, and long lines at a space; a cut inside a word, where there is no space, only costs
// that word's statistics.
#include "io/tokenizers/sentencepiece/sentencepiece_trainer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <charconv>
#include <exception>
#include <iostream>
#include <streambuf>
#include <string_view>
#include <unordered_map>

#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t longest_line = 4000;  // bytes; the trainer's own limit is 4192

class Lines : public sentencepiece::SentenceIterator {
 public:
  Lines(const NextText& next, const SentencePieceTraining& options)
      : next_(next), options_(options), left_(options.max_bytes) {
    Next();
  }

  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }
  // What `next` threw; the trainer is no place to throw through.
  std::exception_ptr failure() const { return failure_; }

  void Next() override {
    do {
      while (rest_.empty()) {
        if (!read()) return;
      }
      const std::size_t newline = rest_.find('\n');
      std::size_t length = std::min(newline, rest_.size());
      if (length > longest_line) {
        const std::size_t space = rest_.rfind(' ', longest_line);
        length = space == std::string_view::npos || space == 0 ? character_start() : space;
      }
      line_ = rest_.substr(0, length);
      rest_.remove_prefix(length == newline ? length + 1 : length);
    } while (line_.empty());
    left_ -= static_cast<std::int64_t>(line_.size());
  }

  std::int64_t bytes() const { return options_.max_bytes - left_; }  // handed out

 private:
  bool read() {
    try {
      done_ = left_ <= 0 || !next_(text_);
    } catch (...) {
      failure_ = std::current_exception();
      done_ = true;
    }
    if (!done_) rest_ = text_;
    if (options_.progress) options_.progress({bytes(), 0, false});
    return !done_;
  }

  // The last place at or before the longest line's end that is not inside a UTF-8 character.
  std::size_t character_start() const {
    std::size_t at = longest_line;
    while (at > longest_line - 4 && (static_cast<unsigned char>(rest_[at]) & 0xC0) == 0x80) --at;
    return at;
  }

  const NextText& next_;
  const SentencePieceTraining& options_;
  std::int64_t left_;
  std::string text_, line_;
  std::string_view rest_;
  bool done_ = false;
  std::exception_ptr failure_;
};

// The trainer tells how far it is only in its log, on std::cerr: "Added: freq=12 size=340 all=...".
// While it lives, this reads the log in the terminal's place.
class LogReader : public std::streambuf {
 public:
  LogReader(const SentencePieceTraining& options, const Lines& lines)
      : options_(options), lines_(lines), before_(std::cerr.rdbuf(this)) {}
  ~LogReader() override { std::cerr.rdbuf(before_); }
  LogReader(const LogReader&) = delete;
  LogReader& operator=(const LogReader&) = delete;

 private:
  int overflow(int c) override {
    if (c == '\n') {
      read_line();
      line_.clear();
    } else if (c != EOF && line_.size() < 4096) {
      line_ += static_cast<char>(c);
    }
    return 0;
  }

  void read_line() {
    constexpr std::string_view key = " size=";
    const std::size_t added = line_.find("Added: "), at = line_.find(key);
    if (!options_.progress || added == line_.npos || at == line_.npos) return;
    int pieces = 0;
    std::from_chars(line_.data() + at + key.size(), line_.data() + line_.size(), pieces);
    if (pieces > 0) options_.progress({lines_.bytes(), pieces, false});
  }

  const SentencePieceTraining& options_;
  const Lines& lines_;
  std::streambuf* before_;
  std::string line_;
};

}  // namespace

std::string train_sentencepiece(const NextText& next, const SentencePieceTraining& options) {
  constexpr int reserved = 3 + 256;
  if (options.vocab_size <= reserved) {
    fail_input("training a tokenizer: a vocabulary of {} is too small; give more than {}",
               options.vocab_size, reserved);
  }
  Lines lines(next, options);
  if (lines.failure()) std::rethrow_exception(lines.failure());
  if (lines.done()) fail_input("training a tokenizer: the input has no text");

  const std::unordered_map<std::string, std::string> arguments = {
      {"model_type", "bpe"},
      {"model_prefix", ""},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"hard_vocab_limit", "false"},
      {"byte_fallback", "true"},
      {"split_digits", options.split_digits ? "true" : "false"},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"num_threads", "1"},
      {"minloglevel", "0"},
  };
  std::string model;
  sentencepiece::util::Status status;
  {
    const LogReader log(options, lines);
    status = sentencepiece::SentencePieceTrainer::Train(arguments, &lines, &model);
    // The level is the whole library's and has no other handle: a training of nothing sets it back.
    (void)sentencepiece::SentencePieceTrainer::Train({{"minloglevel", "2"}});
  }
  if (lines.failure()) std::rethrow_exception(lines.failure());
  if (!status.ok()) {
    std::string_view reason = status.message();
    if (reason.find("smaller than required_chars") != std::string_view::npos) {
      fail_input(
          "training a tokenizer: the text has more distinct characters than a vocabulary of {} "
          "holds; give a larger vocabulary or a smaller character coverage than {}",
          options.vocab_size, options.character_coverage);
    }
    fail_input("training a tokenizer: SentencePiece says: {}", reason);
  }
  if (options.progress) {
    sentencepiece::SentencePieceProcessor trained;
    const bool read = trained.LoadFromSerializedProto(model).ok();
    options.progress({lines.bytes(), read ? trained.GetPieceSize() : 0, true});
  }
  return model;
}

void train_sentencepiece_file(const NextText& next, const SentencePieceTraining& options,
                              const std::filesystem::path& path) {
  write_file_atomically(FileSystem::real(), path, train_sentencepiece(next, options));
}

}  // namespace memengine
