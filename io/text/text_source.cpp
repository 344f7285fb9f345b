// A line reader over decompressed bytes, and on top of it the two kinds of files.
#include "io/text/text_source.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "io/text/json_lines.h"
#include "io/text/text_source_bytes.h"
#include "io/text/utf8.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t read_bytes = 1 << 20;
constexpr std::size_t escaped = 6;  // bytes that one byte of text may take in a JSON line
constexpr std::size_t max_problems = 100;

// The file name without a compression's ending decides the kind.
std::string text_kind(const std::filesystem::path& path) {
  auto name = path.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  return name.extension().string();
}

bool is_text(const std::filesystem::path& path) {
  const std::string kind = text_kind(path);
  return kind == ".jsonl" || kind == ".txt";
}

[[noreturn]] void refuse_parquet(const std::filesystem::path& path) {
  fail_input(
      "{} is a Parquet file, which this program does not read: convert it to .jsonl.zst first "
      "(README has the command)",
      path.string());
}

// Lines of one file, without their line ends, or parts of at most `most` bytes of longer lines;
// views stay valid until the next call.
class LineReader {
 public:
  LineReader(const std::filesystem::path& path, std::size_t most)
      : stream_(open_byte_stream(path)), most_(most) {}

  bool next(std::string_view& line) {
    if (whole_) ++number_;
    for (std::size_t searched = 0;;) {
      const char* from = buffer_.data() + begin_;
      const std::size_t here = std::min(end_ - begin_, most_ + 1);
      const auto* end = static_cast<const char*>(
          here > searched ? std::memchr(from + searched, '\n', here - searched) : nullptr);
      searched = here;
      if (end) {
        take(line, static_cast<std::size_t>(end - from), 1);
        break;
      }
      if (searched > most_) {
        take(line, cut_place({from, most_}), 0);
        whole_ = false;
        return count(line);
      }
      if (!fill()) {
        if (searched == 0) return false;
        take(line, searched, 0);
        ended_ = false;
        break;
      }
    }
    whole_ = true;
    return count(line);
  }

  std::uint64_t taken() const { return taken_; }    // lines and parts of lines
  std::uint64_t number() const { return number_; }  // of the last line, from 1
  bool whole() const { return whole_; }             // the line ended with the last part taken
  bool ended_by_newline() const { return ended_; }  // the last line
  std::int64_t stored_bytes() const { return stream_->stored_bytes(); }

 private:
  void take(std::string_view& line, std::size_t bytes, std::size_t line_end) {
    line = {buffer_.data() + begin_, bytes};
    begin_ += bytes + line_end;
    ended_ = line_end > 0;
  }

  bool count(std::string_view& line) {
    if (taken_++ == 0 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // a BOM
    return true;
  }

  // Behind the last space of a long line, or else before the last character, which may be cut.
  static std::size_t cut_place(std::string_view line) {
    const std::size_t space = line.rfind(' ');
    if (space != line.npos) return space + 1;
    std::size_t at = line.size() - 1;
    while (at > 1 && line.size() - at < 4 && (static_cast<unsigned char>(line[at]) & 0xC0) == 0x80)
      --at;
    return at;
  }

  // Moves what is left to the front and reads more behind it; false at the end of the file.
  bool fill() {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    if (buffer_.size() < end_ + read_bytes) buffer_.resize(std::max(2 * end_, end_ + read_bytes));
    const std::size_t got = stream_->read(buffer_.data() + end_, buffer_.size() - end_);
    end_ += got;
    return got > 0;
  }

  std::unique_ptr<ByteStream> stream_;
  std::size_t most_;
  std::vector<char> buffer_ = std::vector<char>(read_bytes);
  std::size_t begin_ = 0, end_ = 0;  // what is read and not yet handed out
  std::uint64_t taken_ = 0, number_ = 0;
  bool whole_ = true, ended_ = true;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == line.npos;
}

}  // namespace

struct TextSource::Impl {
  TextOptions options;
  std::vector<std::filesystem::path> files;
  std::vector<std::int64_t> sizes;
  std::int64_t bytes_total = 0, bytes_before = 0;  // of all files, and of those done
  std::int64_t bad_lines = 0;
  std::vector<std::string> problems;
  std::uint64_t file = 0;
  std::unique_ptr<LineReader> lines;  // of files[file]; none before it is opened

  void add(const std::filesystem::path& path);
  void open();
  void close();
  void bad(std::uint64_t line, const std::string& what);
  bool next_json(std::string& text);
  bool next_plain(std::string& text);
};

void TextSource::Impl::add(const std::filesystem::path& path) {
  std::error_code error;
  files.push_back(path);
  const auto size = std::filesystem::file_size(path, error);
  if (error) fail_input("cannot read {}: {}", path.string(), error.message());
  sizes.push_back(static_cast<std::int64_t>(size));
  bytes_total += sizes.back();
}

void TextSource::Impl::open() {
  const bool json = text_kind(files[file]) == ".jsonl";
  lines = std::make_unique<LineReader>(
      files[file], json ? escaped * options.max_document_bytes : options.max_document_bytes / 2);
}

void TextSource::Impl::close() {
  lines.reset();
  bytes_before += sizes[file++];
}

void TextSource::Impl::bad(std::uint64_t line, const std::string& what) {
  const std::string problem = fmt::format("{}:{}: {}", files[file].string(), line, what);
  if (bad_lines >= options.max_bad_lines) {
    if (options.max_bad_lines == 0) fail_input("{}; --max-bad-lines skips such lines", problem);
    fail_input("{}; more than --max-bad-lines {}", problem, options.max_bad_lines);
  }
  ++bad_lines;
  if (problems.size() < max_problems) problems.push_back(problem);
}

bool TextSource::Impl::next_json(std::string& text) {
  const auto too_long = [&] {
    return fmt::format("a text above {} MiB; split it", options.max_document_bytes >> 20);
  };
  for (std::string_view line; lines->next(line);) {
    if (!lines->whole()) {
      while (!lines->whole() && lines->next(line)) continue;
      bad(lines->number(), too_long());
      continue;
    }
    if (is_blank(line)) continue;
    std::string problem = read_json_field(line, options.fields, text);
    if (problem.empty() && text.size() > options.max_document_bytes) problem = too_long();
    if (problem.empty()) return true;
    bad(lines->number(), problem);
  }
  return false;
}

// A whole file, or a paragraph: the lines up to a blank one. Line ends inside are kept.
bool TextSource::Impl::next_plain(std::string& text) {
  text.clear();
  bool utf8 = true;
  for (std::string_view line; lines->next(line);) {
    if (options.paragraphs && is_blank(line)) {
      if (!text.empty() && utf8) {
        text.pop_back();
        return true;
      }
      text.clear();
      utf8 = true;
      continue;
    }
    if (const std::size_t invalid = find_invalid_utf8(line); invalid != line.npos) {
      bad(lines->number(), fmt::format("not UTF-8 (byte {} of the line)", invalid + 1));
      utf8 = false;  // the document is left out as a whole
    }
    if (utf8) text += line;
    if (utf8 && lines->ended_by_newline()) text += '\n';
    // Full: the rest of the text is another document.
    if (text.size() < options.max_document_bytes / 2) continue;
    if (options.paragraphs && text.back() == '\n') text.pop_back();
    if (!is_blank(text)) return true;
    text.clear();
  }
  if (!utf8 || is_blank(text)) return false;
  if (options.paragraphs && text.back() == '\n') text.pop_back();
  return true;
}

TextSource::TextSource(const std::vector<std::filesystem::path>& inputs, const TextOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  if (inputs.empty()) fail_input("no input files are named");
  if (options.fields.empty()) fail_input("no text field is named");
  for (const auto& input : inputs) {
    std::error_code error;
    if (std::filesystem::is_directory(input, error)) {
      std::vector<std::filesystem::path> found;
      for (const auto& entry : std::filesystem::recursive_directory_iterator(input)) {
        if (!entry.is_regular_file()) continue;
        if (is_text(entry.path())) found.push_back(entry.path());
        if (entry.path().extension() == ".parquet") refuse_parquet(entry.path());
      }
      if (found.empty()) fail_input("{} holds no .jsonl or .txt files", input.string());
      std::sort(found.begin(), found.end());
      for (const auto& path : found) impl_->add(path);
    } else if (!std::filesystem::exists(input, error)) {
      fail_input("no such input: {}", input.string());
    } else if (input.extension() == ".parquet") {
      refuse_parquet(input);
    } else if (!is_text(input)) {
      fail_input(
          "{}: not a kind of text this program reads (.jsonl or .txt, also with .gz or .zst)",
          input.string());
    } else {
      impl_->add(input);
    }
  }
}

TextSource::~TextSource() = default;

bool TextSource::next(std::string& text) {
  Impl& impl = *impl_;
  for (; impl.file < impl.files.size(); impl.close()) {
    if (!impl.lines) impl.open();
    const bool json = text_kind(impl.files[impl.file]) == ".jsonl";
    if (json ? impl.next_json(text) : impl.next_plain(text)) return true;
  }
  return false;
}

TextPosition TextSource::position() const {
  return {impl_->file, impl_->lines ? impl_->lines->taken() : 0};
}

void TextSource::seek(TextPosition position, std::int64_t bad_lines) {
  Impl& impl = *impl_;
  if (position.file > impl.files.size()) fail_input("the text files are fewer than before");
  impl.lines.reset();
  impl.file = position.file;
  impl.bad_lines = bad_lines;
  impl.bytes_before = 0;
  for (std::uint64_t i = 0; i < position.file; ++i) impl.bytes_before += impl.sizes[i];
  if (position.line == 0 || impl.file == impl.files.size()) return;
  impl.open();
  for (std::string_view line; impl.lines->taken() < position.line;) {
    if (!impl.lines->next(line))
      fail_input("{} is shorter than before", impl.files[impl.file].string());
  }
}

const std::vector<std::filesystem::path>& TextSource::files() const {
  return impl_->files;
}

std::int64_t TextSource::bytes_read() const {
  return impl_->bytes_before + (impl_->lines ? impl_->lines->stored_bytes() : 0);
}

std::int64_t TextSource::bytes_total() const {
  return impl_->bytes_total;
}
std::int64_t TextSource::bad_lines() const {
  return impl_->bad_lines;
}
const std::vector<std::string>& TextSource::problems() const {
  return impl_->problems;
}

}  // namespace memengine
