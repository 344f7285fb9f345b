// Documents from texts, one after another, in an order that never changes.
//
//   JSON        a document is the field `text`, or `content`, or the one that the options name, of
//               each object: one a line, in a list, or over several lines
//   plain text  the whole file is one document, or one a paragraph (separated by blank lines) when
//               the options ask for that; line ends CR LF become LF, as Python reads texts
//
// An input is a file, a folder, or "-", standard input (text_files.h). Compressed files are
// decompressed as they are read; nothing is unpacked to the disk. So that memory stays bounded
// whatever the input, a plain text that is longer than a document may be goes on as another
// document (after a line end or else a space), and a JSON object with so long a text is a bad line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace memengine {

struct TextOptions {
  // The first one present is the document. "data.text" is the field of that name, or `text` of the
  // object `data`.
  std::vector<std::string> fields = {"text", "content"};
  bool paragraphs = false;         // plain text: a document is a paragraph instead of the file
  std::int64_t max_bad_lines = 0;  // skip this many bad lines; the next one is an error
  std::size_t max_document_bytes = 16 << 20;
  bool keep_standard_input = false;  // another TextSource reads it once more from its start
  // Asked while standard input lets wait; true: it ends there. Asked between reads of a file, for
  // lines without an end; true: next() throws TextStopped (io/text/text_lines.h).
  std::function<bool()> stop = {};
  // How a user sets max_bad_lines, for messages; empty: no way.
  std::string bad_lines_option = "--max-bad-lines";
};

// Where reading stands: the file and the number of lines or objects of it already read (a line that
// is too long for one document counts as several).
struct TextPosition {
  std::uint64_t file = 0;
  std::uint64_t line = 0;
};

class TextSource {
 public:
  // Lists the files; input errors as find_text_files.
  TextSource(const std::vector<std::filesystem::path>& inputs, const TextOptions& options);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  // Overwrites `text` with the next document (valid UTF-8); false at the end. A line that is not
  // JSON, has no such field or is not UTF-8 is skipped while max_bad_lines allows, and otherwise an
  // input error "file:line: what". A lone surrogate escape becomes U+FFFD.
  bool next(std::string& text);

  // The position after the last document; a later source over the same files may go on from there
  // (it reads the file's earlier lines again, but does not parse them).
  TextPosition position() const;
  void seek(TextPosition position, std::int64_t bad_lines);

  const std::vector<std::filesystem::path>& files() const;
  bool reads_standard_input() const;
  std::int64_t bytes_read() const;   // as stored (compressed), for progress
  std::int64_t bytes_total() const;  // as stored; 0 when standard input is among them
  std::int64_t bad_lines() const;
  // A line for each bad line skipped, at most 100.
  const std::vector<std::string>& problems() const;
  // Of each folder, a line that names what it holds and is not read.
  const std::vector<std::string>& left_out() const;
  // What reading left out or cut, a line each: files without any text, and plain texts that went on
  // as another document.
  std::vector<std::string> notices() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace memengine
