// Batches for training and validation, cut from token shards.
//
// A batch is B sequences of T + 1 consecutive tokens, seen twice as Lingua's n_views = 2 does:
// tokens = s[0 .. T), targets = s[1 .. T]. Windows start every T tokens, so each token of a shard
// is a target once an epoch.
//
// The whole run is one infinite stream of sequences g = 0, 1, 2, ... that depends only on the data,
// the seed and T. For each g a counter-based random number picks the source by weight; the source
// gives its next window, in an order reshuffled every epoch (shards permuted, then windows inside a
// shard, so reading stays local). Batch k of rank r in a world of W holds
// g = (k·W + r)·B + [0, B). Hence the position in the data is a handful of counters, is the same on
// every rank, and a run may go on with another number of ranks or another batch size: it sees
// exactly the sequences that come next.
//
// A thread of its own fills the batches ahead of time into a ring of buffers. It also compares each
// shard with its checksum when it first reads from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace memengine {

// Where in the data a run stands; plain fields, for a checkpoint.
struct LoaderPosition {
  struct Source {
    std::string name;
    double weight = 0;
    std::int64_t windows = 0;  // windows in one epoch: tells that the data is still the same
    std::int64_t drawn = 0;    // sequences taken so far, all epochs and ranks
    std::string shards;        // hash of their fingerprints, in order; empty: not known
  };
  std::uint64_t seed = 0;
  std::int64_t seq_len = 0;
  std::int64_t sequences = 0;  // of all ranks together
  std::vector<Source> sources;
};

struct LoaderSource {
  std::string name;
  std::filesystem::path path;  // a folder of shards, or one shard
  double weight = 1;           // relative; must be finite, not negative, and not all zero
};

// Where batch buffers come from, so that the engine can hand out pinned memory.
struct HostAllocator {
  std::function<void*(std::size_t bytes)> allocate;
  std::function<void(void*)> release;
};

struct LoaderOptions {
  std::vector<LoaderSource> sources;
  std::int64_t batch_size = 1;  // B, sequences of this rank
  std::int64_t seq_len = 0;     // T
  std::uint64_t seed = 0;
  int rank = 0, world = 1;
  // Fill ahead on a thread; false, or where no thread can be had: fill in next().
  bool async = true;
  int prefetch = 2;             // batches filled ahead
  int keep = 2;                 // the batches of the last `keep` calls of next() stay untouched
  bool shuffle = true;          // false: shards and windows in their stored order, every epoch
  std::int64_t vocab_size = 0;  // ids must lie below; 0: not checked
  std::int32_t document_start = -1;  // the token that starts a document (BOS); -1: none known
  std::string tokenizer_hash;        // when given, a sidecar with another hash is an input error
  bool accept_other_shards = false;  // go on from a position in shards with other contents
  HostAllocator allocator;           // ordinary memory when empty
};

// One batch in host memory that the loader owns: row-major [B, T].
struct Batch {
  const std::int32_t* tokens = nullptr;
  const std::int32_t* targets = nullptr;
  // For each position the first position of the same document in this sequence: attention that does
  // not look across documents attends to [doc_start[t], t].
  const std::int32_t* doc_start = nullptr;
  std::int64_t batch_size = 0, seq_len = 0;
  double wait_seconds = 0;  // how long next() waited: the time training lost to data
};

class TokenLoader {
 public:
  // Opens and checks all shards and starts the prefetch thread, at `from` when given. A source too
  // short for one sequence, a tokenizer or vocabulary that does not match, or a position that
  // belongs to other data, weights, seed or seq_len are input errors.
  explicit TokenLoader(const LoaderOptions& options, const LoaderPosition* from = nullptr);
  ~TokenLoader();
  TokenLoader(const TokenLoader&) = delete;
  TokenLoader& operator=(const TokenLoader&) = delete;

  // The next batch. An error met while reading it (a damaged shard, found when it is first used; a
  // token outside the vocabulary) is thrown here.
  Batch next();

  // The position after the last batch that next() returned, not after those prefetched.
  LoaderPosition position() const;

  // Windows in one epoch of source i, and the tokens of all sources.
  std::int64_t windows(std::size_t source) const;
  std::int64_t total_tokens() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Goes once over the validation shards, in order: no weights, no shuffle, no wrap. Ranks take
// batches in turn; the last batch may have fewer sequences.
class ValidationReader {
 public:
  struct Options {
    std::vector<std::filesystem::path> paths;  // folders (their val shards) or single shards
    std::int64_t batch_size = 1, seq_len = 0;
    int rank = 0, world = 1;
    std::int64_t vocab_size = 0;
    std::int32_t document_start = -1;
    std::string tokenizer_hash;
    HostAllocator allocator;
    std::int64_t most = 0;  // sequences, at even distances over all shards; 0: all
  };

  explicit ValidationReader(const Options& options);
  ~ValidationReader();
  ValidationReader(const ValidationReader&) = delete;
  ValidationReader& operator=(const ValidationReader&) = delete;

  // Fills the one buffer with the next batch (valid until the next call); false at the end.
  bool next(Batch& batch);

  void rewind();
  std::int64_t sequences() const;  // of all ranks
  std::int64_t batches() const;    // of all ranks

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace memengine
