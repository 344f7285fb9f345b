// The order of work for each source, pass 2, and what makes a finished folder.
#include "io/prepare/prepare.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "io/prepare/prepare_spill.h"
#include "io/prepare/prepare_tokenize.h"
#include "io/shards/shard_writer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

void check(const PrepareOptions& options) {
  if (!options.tokenizer) fail_internal("prepare needs a tokenizer");
  const Tokenizer& tokenizer = *options.tokenizer;
  if (options.sources.empty()) fail_input("prepare: no source is named");
  if (options.add_bos && tokenizer.bos_id() < 0) {
    fail_input("the {} tokenizer has no BOS token; set add_bos to false", tokenizer.name());
  }
  if (options.add_eos && tokenizer.eos_id() < 0) {
    fail_input("the {} tokenizer has no EOS token; set add_eos to false", tokenizer.name());
  }
  if (!(options.validation_fraction >= 0 && options.validation_fraction < 1)) {
    fail_input("the validation fraction is {}; it must be at least 0 and below 1",
               options.validation_fraction);
  }
  if (options.max_shard_tokens < 2 || options.max_shard_tokens > 2'000'000'000) {
    fail_input("the shard size is {} tokens; it must lie between 2 and 2,000,000,000",
               options.max_shard_tokens);
  }
  std::set<std::string> names;
  for (const auto& source : options.sources) {
    const bool plain = std::all_of(source.name.begin(), source.name.end(), [](unsigned char c) {
      return std::isalnum(c) || c == '.' || c == '_' || c == '-';
    });
    if (source.name.empty() || !plain || source.name.starts_with('.')) {
      fail_input("'{}' cannot name a source: use letters, digits, '.', '_' and '-'", source.name);
    }
    if (!names.insert(source.name).second) fail_input("source '{}' appears twice", source.name);
    if (options.validation_fraction > 0 && !source.validation_inputs.empty()) {
      fail_input("source '{}' has both a validation fraction and validation inputs", source.name);
    }
  }
}

// Everything that the output depends on; readable, and hashed to compare.
nlohmann::ordered_json describe(const PrepareOptions& options, const PrepareSource& source) {
  const auto files = [&](const std::vector<fs::path>& inputs) {
    auto list = nlohmann::ordered_json::array();
    if (inputs.empty()) return list;
    const TextSource texts(inputs, options.text);
    for (const fs::path& path : texts.files()) {
      list.push_back({{"path", fs::absolute(path).lexically_normal().string()},
                      {"bytes", fs::file_size(path)},
                      {"modified", fs::last_write_time(path).time_since_epoch().count()}});
    }
    return list;
  };
  return {{"format", 1},
          {"tokenizer", options.tokenizer->name()},
          {"tokenizer_hash", options.tokenizer->hash()},
          {"vocab_size", options.tokenizer->vocab_size()},
          {"seed", options.seed},
          {"validation_fraction", options.validation_fraction},
          {"add_bos", options.add_bos},
          {"add_eos", options.add_eos},
          {"max_shard_tokens", options.max_shard_tokens},
          {"fields", options.text.fields},
          {"paragraphs", options.text.paragraphs},
          {"max_document_bytes", options.text.max_document_bytes},
          {"inputs", files(source.inputs)},
          {"validation_inputs", files(source.validation_inputs)}};
}

// Writes documents into as many shards as needed; a document is cut only where it alone is larger
// than a shard.
class SplitWriter {
 public:
  SplitWriter(fs::path folder, std::string split, const PrepareOptions& options)
      : folder_(std::move(folder)), split_(std::move(split)), limit_(options.max_shard_tokens) {
    const Tokenizer& tokenizer = *options.tokenizer;
    info_.tokenizer = tokenizer.name();
    info_.tokenizer_hash = tokenizer.hash();
    info_.vocab_size = tokenizer.vocab_size();
    info_.bos_id = options.add_bos ? tokenizer.bos_id() : -1;
    info_.eos_id = options.add_eos ? tokenizer.eos_id() : -1;
    width_ = shard_token_bytes(info_.vocab_size);
  }

  void add(std::span<const std::uint8_t> document) {
    const std::int64_t count = static_cast<std::int64_t>(document.size()) / width_;
    if (writer_ && writer_->tokens() + count > limit_) finish();
    for (bool first = true; !document.empty(); first = false) {
      if (!writer_) {
        const auto name = fmt::format("{}_{:06}.bin", split_, shards++);
        writer_ = std::make_unique<ShardWriter>(folder_ / name, info_);
      }
      if (first) writer_->add_document();
      const auto room = static_cast<std::size_t>((limit_ - writer_->tokens()) * width_);
      const auto part = document.first(std::min(room, document.size()));
      writer_->append_raw(part);
      document = document.subspan(part.size());
      if (writer_->tokens() == limit_) finish();
    }
    ++documents;
    tokens += count;
  }

  void finish() {
    if (writer_) writer_->finish();
    writer_.reset();
  }

  std::int64_t documents = 0, tokens = 0, shards = 0;

 private:
  fs::path folder_;
  std::string split_;
  std::int64_t limit_;
  ShardInfo info_;
  int width_ = 2;
  std::unique_ptr<ShardWriter> writer_;
};

// Only one prepare may work on a source at a time.
class FolderLock {
 public:
  explicit FolderLock(const fs::path& folder) {
    const auto path = folder / "lock";
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0) fail_input("cannot write {}: {}", path.string(), std::strerror(errno));
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
      ::close(file_);
      fail_input("another prepare is at work in {}", folder.string());
    }
  }
  ~FolderLock() { ::close(file_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_;
};

// The shards that stand in `folder` now.
std::vector<fs::path> shards_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".bin") found.push_back(entry.path());
  }
  return found;
}

PreparedSource read_done(const nlohmann::json& json, const std::string& name) {
  PreparedSource done;
  done.name = name;
  done.train_documents = json.at("train_documents");
  done.train_tokens = json.at("train_tokens");
  done.train_shards = json.at("train_shards");
  done.val_documents = json.at("val_documents");
  done.val_tokens = json.at("val_tokens");
  done.val_shards = json.at("val_shards");
  done.text_bytes = json.at("text_bytes");
  done.bad_lines = json.at("bad_lines");
  done.already_done = true;
  return done;
}

// Pass 2: the spilled documents in key order, the first ones to `val` (an explicit validation input
// has spill files of its own). False when stopped.
bool write_shards(const PrepareOptions& options, const std::string& name, const fs::path& work,
                  const TokenizePass& train_pass, const TokenizePass* val_pass, SplitWriter& train,
                  SplitWriter& val) {
  const std::int64_t documents = train_pass.documents;
  std::int64_t to_val = 0;
  if (options.validation_fraction > 0 && documents > 1) {
    to_val = std::llround(options.validation_fraction * static_cast<double>(documents));
    to_val = std::clamp<std::int64_t>(to_val, 1, documents - 1);
  }
  const auto start = Clock::now();
  auto reported = start;
  const int width = shard_token_bytes(options.tokenizer->vocab_size());
  PrepareProgress now = {name, "shuffle", 0, 0, 0, 0, 0, 0, 0};
  now.bytes_total = (train_pass.tokens + (val_pass ? val_pass->tokens : 0)) * width;
  const auto count = [&](std::span<const std::uint8_t> document) {
    ++now.documents;
    now.bytes_read += static_cast<std::int64_t>(document.size());
    now.tokens = now.bytes_read / width;
    if (!options.progress || now.documents % 1024 != 0) return;
    if (std::chrono::duration<double>(Clock::now() - reported).count() < options.progress_seconds) {
      return;
    }
    reported = Clock::now();
    now.seconds = std::chrono::duration<double>(reported - start).count();
    now.seconds_left = now.seconds * static_cast<double>(now.bytes_total - now.bytes_read) /
                       static_cast<double>(now.bytes_read);
    options.progress(now);
  };
  const auto drain = [&](const char* folder, const TokenizePass& pass, auto&& to) {
    return drain_spill(
        work / folder, 0, pass.bits, options.sort_bytes,
        [&](std::span<const std::uint8_t> document) {
          to(document);
          count(document);
        },
        options.stop);
  };
  const bool train_done = drain("train", train_pass, [&](std::span<const std::uint8_t> document) {
    (val.documents < to_val ? val : train).add(document);
  });
  if (!train_done) return false;
  if (val_pass && !drain("val", *val_pass, [&](auto document) { val.add(document); })) return false;
  train.finish();
  val.finish();
  return true;
}

// The work on one source whose folder is locked; false when stopped.
bool prepare_locked(const PrepareOptions& options, const PrepareSource& source,
                    const fs::path& folder, const fs::path& work,
                    const nlohmann::ordered_json& description, const std::string& fingerprint,
                    PreparedSource& done) {
  const fs::path marker = folder / "prepare.json";
  std::error_code error;
  // Shards of an unfinished run of ours were still being moved in; anything else is the user's.
  const bool ours = fs::exists(work / ("moving-" + fingerprint));
  if (!shards_in(folder).empty() && !ours && !options.overwrite) {
    fail_input(
        "{} already holds shards made with other settings or inputs: choose another output "
        "folder, or ask to overwrite",
        folder.string());
  }

  const auto train_pass =
      tokenize_inputs(options, source.name, "tokenize", work / "train", source.inputs, fingerprint);
  TokenizePass val_pass;
  const bool explicit_val = !source.validation_inputs.empty();
  if (explicit_val && train_pass.complete) {
    val_pass = tokenize_inputs(options, source.name, "validation", work / "val",
                               source.validation_inputs, fingerprint);
  }
  done.problems = train_pass.problems;
  done.problems.insert(done.problems.end(), val_pass.problems.begin(), val_pass.problems.end());
  if (!train_pass.complete || (explicit_val && !val_pass.complete)) return false;
  if (train_pass.documents == 0 || (explicit_val && val_pass.documents == 0)) {
    fs::remove_all(work, error);
    fail_input("source '{}' has no {}documents: its input is empty", source.name,
               train_pass.documents == 0 ? "" : "validation ");
  }

  const fs::path finished = work / "shards";
  fs::remove_all(finished);
  fs::create_directories(finished);
  SplitWriter train(finished, "train", options), val(finished, "val", options);
  if (!write_shards(options, source.name, work, train_pass, explicit_val ? &val_pass : nullptr,
                    train, val)) {
    return false;
  }
  write_whole_file(work / ("moving-" + fingerprint), "");
  fs::remove(marker);
  for (const auto& old : shards_in(folder)) {
    fs::remove(shard_sidecar_path(old));
    fs::remove(old);
  }
  for (const auto& entry : fs::directory_iterator(finished)) {
    fs::rename(entry.path(), folder / entry.path().filename());
  }
  done.name = source.name;
  done.train_documents = train.documents;
  done.train_tokens = train.tokens;
  done.train_shards = train.shards;
  done.val_documents = val.documents;
  done.val_tokens = val.tokens;
  done.val_shards = val.shards;
  done.text_bytes = train_pass.text_bytes + val_pass.text_bytes;
  done.bad_lines = train_pass.bad_lines + val_pass.bad_lines;
  const nlohmann::ordered_json record = {
      {"fingerprint", fingerprint},          {"train_documents", done.train_documents},
      {"train_tokens", done.train_tokens},   {"train_shards", done.train_shards},
      {"val_documents", done.val_documents}, {"val_tokens", done.val_tokens},
      {"val_shards", done.val_shards},       {"text_bytes", done.text_bytes},
      {"bad_lines", done.bad_lines},         {"settings", description}};
  write_whole_file(marker, record.dump(2) + "\n");
  fs::remove_all(work, error);
  return true;
}

// Work worth going on with; the journals say so.
bool has_journal(const fs::path& work) {
  return fs::exists(work / "train/journal.json") || fs::exists(work / "val/journal.json");
}

// One source from start to end; false when stopped.
bool prepare_source(const PrepareOptions& options, const PrepareSource& source,
                    PreparedSource& done) {
  const fs::path folder = options.out_dir / source.name, work = folder / ".prepare";
  const auto description = describe(options, source);
  const std::string fingerprint = tokenizer_file_hash(description.dump());
  const fs::path marker = folder / "prepare.json";
  std::error_code error;
  if (fs::exists(marker, error)) {
    std::ifstream file(marker);
    const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("fingerprint", "") == fingerprint) {
      fs::remove_all(work, error);
      done = read_done(json, source.name);
      return true;
    }
  }
  fs::create_directories(work, error);
  if (error) fail_input("cannot make {}: {}", work.string(), error.message());
  const FolderLock lock(work);
  try {
    return prepare_locked(options, source, folder, work, description, fingerprint, done);
  } catch (const Error& failure) {
    // Work that a journal names is kept, and the user is told; nothing else is left behind.
    if (has_journal(work)) {
      throw Error(failure.kind(),
                  fmt::format("{} (what was done before is kept in {}: once this is mended, the "
                              "same command goes on, or starts over if the inputs changed)",
                              failure.what(), work.string()));
    }
    fs::remove_all(work, error);
    if (fs::is_empty(folder, error)) fs::remove(folder, error);
    throw;
  }
}

}  // namespace

PrepareResult prepare(const PrepareOptions& options) {
  check(options);
  PrepareResult result;
  for (const PrepareSource& source : options.sources) {
    PreparedSource done;
    if (!prepare_source(options, source, done)) {
      result.stopped = true;
      return result;
    }
    result.sources.push_back(std::move(done));
  }
  return result;
}

}  // namespace memengine
