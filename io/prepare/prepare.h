// Text to shards: tokenize every document, shuffle all documents, split, write.
//
// The order of the output is the order of a random 64-bit key that each document draws from the
// seed, its source's name and its number: a true global shuffle that does not depend on how many
// threads work or how much memory there is. It happens in two passes, as an external bucket sort:
//
//   1. tokenize in parallel and append each document to one of up to 256 spill files, chosen by the
//      top bits of its key;
//   2. read the spill files in order, sort each by key in memory (a file that is too large is first
//      split by its next bits), and write shards.
//
// The validation split is the first documents of that order. A journal beside the spill files says
// how far pass 1 has come, so a run that was stopped or killed goes on where it was and writes the
// same bytes as one that was not. Shards appear in their folder only when all are whole.
//
// Output: out_dir/<source>/{train,val}_000000.bin, each with its .json sidecar, and prepare.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/text/text_source.h"
#include "io/tokenizers/tokenizer.h"

namespace memengine {

struct PrepareSource {
  std::string name;  // the folder below out_dir; see source_name.h
  std::vector<std::filesystem::path> inputs;
  std::vector<std::filesystem::path> validation_inputs;  // when given, instead of a fraction
};

struct PrepareProgress {
  std::string source;
  std::string phase;            // "tokenize", "validation" or "shuffle"
  std::int64_t documents = 0;   // of this source and phase
  std::int64_t text_bytes = 0;  // UTF-8 bytes tokenized
  std::int64_t tokens = 0;
  std::int64_t bytes_read = 0;   // input as stored (tokenize), spilled bytes written (shuffle)
  std::int64_t bytes_total = 0;  // ... of which there are this many (0: unknown): gives the ETA
  double seconds = 0;            // since this phase started
  double seconds_left = 0;       // estimate for this phase
  bool finished = false;         // the last report of this phase: all counts are final
};

struct PrepareOptions {
  std::filesystem::path out_dir;
  std::vector<PrepareSource> sources;
  const Tokenizer* tokenizer = nullptr;
  std::uint64_t seed = 0;
  double validation_fraction = 0;  // of the documents, in [0, 1)
  bool add_bos = true, add_eos = true;
  int threads = 0;  // 0: one a core
  std::int64_t max_shard_tokens = 100'000'000;
  std::int64_t sort_bytes = 64 << 20;  // spill bytes sorted in memory at once
  TextOptions text;
  bool overwrite = false;  // replace a source that was prepared with other settings or inputs
  double checkpoint_seconds = 15;                        // between two journal entries
  std::function<void(const PrepareProgress&)> progress;  // called from the calling thread
  double progress_seconds = 0.5;
  std::function<bool()> stop;  // polled; true: write the journal and return
};

struct PreparedSource {
  std::string name;
  std::int64_t train_documents = 0, train_tokens = 0, train_shards = 0;
  std::int64_t val_documents = 0, val_tokens = 0, val_shards = 0;
  std::int64_t text_bytes = 0;
  std::int64_t bad_lines = 0;
  std::vector<std::string> problems;  // one line for each bad line skipped in this run
  std::vector<std::string> notices;   // what else was left out or cut in this run, a line each
  bool already_done = false;          // the same settings and inputs were prepared before
};

struct PrepareResult {
  std::vector<PreparedSource> sources;  // those that are complete
  bool stopped = false;                 // the same call later goes on where this one stopped
};

// Whether a source's texts come from standard input ("-"). Such a source is read once: stopped, it
// starts over, and it is never taken for done before.
bool reads_standard_input(const PrepareSource& source);

// Prepares all sources. A run that ends with an error leaves nothing of the source at hand behind,
// unless a journal says what can be gone on with; the error then names the place. Input errors: a
// bad text (see TextSource), a source without documents, a source's folder that is not ours
// (io/files/output_folder.h) or in use, a tokenizer without the BOS or EOS asked for.
PrepareResult prepare(const PrepareOptions& options);

}  // namespace memengine
