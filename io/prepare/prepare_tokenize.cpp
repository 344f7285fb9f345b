// The calling thread reads documents and packs them into jobs of about 128 KiB; workers tokenize a
// job and append its documents to the spill files. Memory does not grow with the input: the queue
// is bounded in bytes, and large documents are tokenized one at a time. For a journal entry the
// calling thread waits until no job is left, brings the spill files to the disk and then names
// their lengths; a later run cuts the files to these lengths and reads on at the noted position.
#include "io/prepare/prepare_tokenize.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "io/files/file.h"
#include "io/json/json_numbers.h"
#include "io/prepare/prepare_spill.h"
#include "io/shards/loader_order.h"
#include "io/shards/shard_writer.h"
#include "io/text/text_lines.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t job_bytes = 128 << 10;
constexpr std::size_t large_job_bytes = 1 << 20;  // merging may take 40 times as much memory
constexpr std::size_t queue_bytes = 32 << 20;
constexpr int max_bits = 8;

struct Job {
  std::int64_t first_ordinal = 0;
  std::vector<std::string> texts;
  std::size_t bytes = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t name_key(std::uint64_t seed, const std::string& name) {
  std::uint64_t key = hash_counter(seed, name.size());
  for (const char c : name) key = hash_counter(key, static_cast<unsigned char>(c));
  return key;
}

// Enough files that each is likely to fit in memory; one that does not is split later.
int choose_bits(const TextSource& texts, int token_bytes, std::int64_t sort_bytes) {
  if (texts.reads_standard_input()) return max_bits;  // any amount may come
  double expected = 0;
  for (const auto& file : texts.files()) {
    const std::string ending = file.extension().string();
    const bool packed = !ending.empty() && (ending[1] == 'g' || ending[1] == 'z' ||
                                            ending[1] == 'G' || ending[1] == 'Z');
    expected += static_cast<double>(std::filesystem::file_size(file)) * (packed ? 4 : 1);
  }
  expected *= token_bytes / 2.0;
  int bits = 0;
  while (bits < max_bits && std::ldexp(static_cast<double>(sort_bytes), bits) < 2 * expected)
    ++bits;
  return bits;
}

std::optional<TokenizePass> read_journal(const std::filesystem::path& path,
                                         const std::string& fingerprint, int bits) {
  // Far above what is possible, and far enough below overflow to add and multiply.
  constexpr std::int64_t most = std::int64_t{1} << 56;
  try {
    const auto json = nlohmann::json::parse(read_text_file(path, 1 << 20), nullptr,
                                            /*allow_exceptions=*/false);
    const auto count = [&json](const char* key) {
      const auto number = whole_number<std::int64_t>(json.at(key));
      if (number < 0 || number > most) throw std::invalid_argument(key);
      return number;
    };
    TokenizePass pass;
    if (json.at("fingerprint") != fingerprint || count("bits") != bits) return std::nullopt;
    pass.bits = bits;
    pass.position = {static_cast<std::uint64_t>(count("file")),
                     static_cast<std::uint64_t>(count("line"))};
    pass.ordinal = count("ordinal");
    pass.documents = count("documents");
    pass.tokens = count("tokens");
    pass.text_bytes = count("text_bytes");
    pass.bad_lines = count("bad_lines");
    for (const auto& length : json.at("lengths")) {
      pass.lengths.push_back(whole_number<std::int64_t>(length));
    }
    pass.complete = json.at("complete").get<bool>();
    const bool whole = pass.lengths.size() == std::size_t{1} << bits &&
                       has_spill_files(path.parent_path(), pass.lengths);
    return whole ? std::optional(pass) : std::nullopt;
    // None yet, or not one of ours: start over.
  } catch (const Error&) {
  } catch (const nlohmann::json::exception&) {
  } catch (const std::invalid_argument&) {
  }
  return std::nullopt;
}

void write_journal(const std::filesystem::path& path, const std::string& fingerprint,
                   const TokenizePass& pass) {
  const nlohmann::ordered_json json = {
      {"fingerprint", fingerprint},  {"bits", pass.bits},
      {"file", pass.position.file},  {"line", pass.position.line},
      {"ordinal", pass.ordinal},     {"documents", pass.documents},
      {"tokens", pass.tokens},       {"text_bytes", pass.text_bytes},
      {"bad_lines", pass.bad_lines}, {"complete", pass.complete},
      {"lengths", pass.lengths}};
  write_file_atomically(FileSystem::real(), path, json.dump());
}

// Threads that take jobs from a short queue.
class Workers {
 public:
  Workers(const PrepareOptions& options, std::uint64_t key, SpillFiles& spill)
      : options_(options), key_(key), spill_(spill) {
    const int threads = options.threads > 0 ? options.threads
                                            : static_cast<int>(std::thread::hardware_concurrency());
    try {
      for (int i = 0; i < std::max(1, threads); ++i) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) throw;  // with some it only takes longer
    }
  }

  ~Workers() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  // Hands over a job, waiting at most `wait` seconds for room; false when there was none.
  bool offer(Job& job, double wait) {
    std::unique_lock lock(mutex_);
    const bool room = changed_.wait_for(lock, std::chrono::duration<double>(wait), [this] {
      return error_ || queue_.empty() ||
             (queue_.size() < 2 * threads_.size() && queued_bytes_ < queue_bytes);
    });
    if (error_) std::rethrow_exception(error_);
    if (!room) return false;
    queued_bytes_ += job.bytes;
    queue_.push_back(std::move(job));
    job = {};
    lock.unlock();
    changed_.notify_all();
    return true;
  }

  // Waits until every job is done.
  void finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return error_ || (queue_.empty() && busy_ == 0); });
    if (error_) std::rethrow_exception(error_);
  }

  std::atomic<std::int64_t> documents = 0, tokens = 0, text_bytes = 0;

 private:
  void work() {
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ending_ || error_ || !queue_.empty(); });
        if (error_ || queue_.empty()) return;
        job = std::move(queue_.front());
        queue_.pop_front();
        queued_bytes_ -= job.bytes;
        ++busy_;
      }
      changed_.notify_all();
      std::exception_ptr error;
      try {
        const auto alone =
            job.bytes > large_job_bytes ? std::unique_lock(large_) : std::unique_lock<std::mutex>();
        tokenize(job);
      } catch (...) {
        error = std::current_exception();
      }
      {
        const std::lock_guard lock(mutex_);
        --busy_;
        if (error) error_ = error;
      }
      changed_.notify_all();
    }
  }

  void tokenize(const Job& job) {
    const Tokenizer& tokenizer = *options_.tokenizer;
    const bool wide = shard_token_bytes(tokenizer.vocab_size()) == 4;
    std::vector<std::int32_t> ids;
    std::vector<std::uint16_t> narrow;
    for (std::size_t i = 0; i < job.texts.size(); ++i) {
      ids.clear();
      if (options_.add_bos) ids.push_back(tokenizer.bos_id());
      tokenizer.encode_append(job.texts[i], ids);
      if (options_.add_eos) ids.push_back(tokenizer.eos_id());
      text_bytes += static_cast<std::int64_t>(job.texts[i].size());
      if (ids.empty()) continue;
      const void* from = ids.data();
      if (!wide) {
        narrow.assign(ids.begin(), ids.end());
        from = narrow.data();
      }
      const std::uint64_t ordinal = static_cast<std::uint64_t>(job.first_ordinal) + i;
      spill_.append(hash_counter(key_, ordinal),
                    {static_cast<const std::uint8_t*>(from), ids.size() * (wide ? 4 : 2)});
      ++documents;
      tokens += static_cast<std::int64_t>(ids.size());
    }
  }

  const PrepareOptions& options_;
  std::uint64_t key_;
  SpillFiles& spill_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::mutex large_;  // held by whoever tokenizes a large job: one at a time
  std::deque<Job> queue_;
  std::size_t queued_bytes_ = 0;
  int busy_ = 0;
  bool ending_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> threads_;
};

}  // namespace

TokenizePass tokenize_inputs(const PrepareOptions& options, const std::string& source,
                             const std::string& phase, const std::filesystem::path& folder,
                             const std::vector<std::filesystem::path>& inputs,
                             const std::string& fingerprint) {
  TextOptions text_options = options.text;
  text_options.stop = options.stop;
  TextSource texts(inputs, text_options);
  const auto journal_path = folder / "journal.json";
  const int bits =
      choose_bits(texts, shard_token_bytes(options.tokenizer->vocab_size()), options.sort_bytes);
  auto journal = read_journal(journal_path, fingerprint, bits);
  if (journal && journal->complete) return *journal;
  TokenizePass pass;
  pass.bits = bits;
  if (journal) {
    pass = *journal;
    try {
      texts.seek(pass.position, pass.bad_lines);
    } catch (const TextStopped&) {
      return pass;
    }
  }
  SpillFiles spill(folder, 0, bits, journal ? &pass.lengths : nullptr);
  Workers workers(options, name_key(options.seed, source + '/' + phase), spill);
  workers.documents = pass.documents;
  workers.tokens = pass.tokens;
  workers.text_bytes = pass.text_bytes;

  const auto start = Clock::now();
  const std::int64_t read_before = texts.bytes_read();
  const auto report = [&](bool finished) {
    PrepareProgress now = {source,
                           phase,
                           workers.documents,
                           workers.text_bytes,
                           workers.tokens,
                           texts.bytes_read(),
                           texts.bytes_total(),
                           seconds_since(start),
                           0,
                           finished};
    const double done = static_cast<double>(now.bytes_read - read_before);
    if (done > 0) {
      now.seconds_left = now.seconds * static_cast<double>(now.bytes_total - now.bytes_read) / done;
    }
    options.progress(now);
  };
  // Where a document began inside which reading was stopped: it is read again.
  struct Begin {
    TextPosition position;
    std::int64_t bad_lines = 0;
  };
  std::optional<Begin> inside;
  const auto next = [&](std::string& document) {
    const Begin begin = {texts.position(), texts.bad_lines()};
    try {
      return texts.next(document);
    } catch (const TextStopped&) {
      inside = begin;
      return true;  // not the end
    }
  };
  const auto save = [&](bool complete) {
    workers.finish();
    pass.lengths = spill.flush();
    pass.position = inside ? inside->position : texts.position();
    pass.documents = workers.documents;
    pass.tokens = workers.tokens;
    pass.text_bytes = workers.text_bytes;
    pass.bad_lines = inside ? inside->bad_lines : texts.bad_lines();
    pass.complete = complete;
    write_journal(journal_path, fingerprint, pass);
  };

  auto reported = start, saved = start;
  bool more = true, stopped = false;
  std::string text;
  while (more && !stopped) {
    Job job = {pass.ordinal, {}, 0};
    while (job.bytes < job_bytes && (more = next(text)) && !inside) {
      job.bytes += text.size() + 64;
      job.texts.push_back(std::move(text));
    }
    pass.ordinal += static_cast<std::int64_t>(job.texts.size());
    for (bool handed = job.texts.empty(); !handed;) {
      handed = workers.offer(job, options.progress_seconds);
      if (options.progress && seconds_since(reported) >= options.progress_seconds) {
        report(false);
        reported = Clock::now();
      }
    }
    // Standard input that ends while a signal comes was cut off by it.
    stopped = inside || ((more || texts.reads_standard_input()) && options.stop && options.stop());
    if (more && !stopped && seconds_since(saved) >= options.checkpoint_seconds) {
      save(false);
      saved = Clock::now();
    }
  }
  save(!stopped);
  if (options.progress) report(pass.complete);
  pass.problems = texts.problems();
  pass.notices = texts.notices();
  return pass;
}

}  // namespace memengine
