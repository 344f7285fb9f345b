// Documents from files of text, one after another, in an order that never changes.
//
//   .jsonl, .jsonl.zst, .jsonl.gz   one JSON object a line; the document is its field `text`, or
//                                   `content`, or the one that the options name
//   .txt, .txt.zst, .txt.gz         the whole file is one document, or one a paragraph (separated
//                                   by blank lines) when the options ask for that
//
// An input is a file or a folder, which stands for all such files below it, sorted by path.
// Compressed files are decompressed as they are read; nothing is unpacked to the disk. So that
// memory stays bounded whatever the input, a plain text that is longer than a document may be goes
// on as another document (behind a line end or else a space), and a JSON line with so long a text
// is a bad line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace memengine {

struct TextOptions {
  std::vector<std::string> fields = {"text", "content"};  // the first one present is the document
  bool paragraphs = false;         // .txt: a document is a paragraph instead of the file
  std::int64_t max_bad_lines = 0;  // skip this many bad lines; the next one is an error
  std::size_t max_document_bytes = 16 << 20;
};

// Where reading stands: the file and the number of lines of it already read (a line that is too
// long for one document counts as several).
struct TextPosition {
  std::uint64_t file = 0;
  std::uint64_t line = 0;
};

class TextSource {
 public:
  // Lists the files. A missing input, a file of another kind, a folder without texts or with
  // Parquet files are input errors; so is no input at all.
  TextSource(const std::vector<std::filesystem::path>& inputs, const TextOptions& options);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  // Overwrites `text` with the next document (valid UTF-8); false at the end. A line that is not
  // JSON, has no such field or is not UTF-8 is skipped while max_bad_lines allows, and otherwise an
  // input error "file:line: what". A lone surrogate escape becomes U+FFFD.
  bool next(std::string& text);

  // The position behind the last document; a later source over the same files may go on from there
  // (it reads the file's earlier lines again, but does not parse them).
  TextPosition position() const;
  void seek(TextPosition position, std::int64_t bad_lines);

  const std::vector<std::filesystem::path>& files() const;
  std::int64_t bytes_read() const;   // as stored (compressed), for progress
  std::int64_t bytes_total() const;  // as stored
  std::int64_t bad_lines() const;
  const std::vector<std::string>& problems()
      const;  // a line for each bad line skipped, at most 100

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace memengine
