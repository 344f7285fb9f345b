// Records (lines, objects, whole texts) of one file after another, and the documents in them.
#include "io/text/text_source.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "io/json/json_lines.h"
#include "io/json/json_objects.h"
#include "io/text/one_line.h"
#include "io/text/text_files.h"
#include "io/text/text_lines.h"
#include "io/text/utf8.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t escaped = 6;  // bytes that one byte of text may take in JSON
constexpr std::size_t max_problems = 100;
constexpr std::size_t empty_names_shown = 5;

std::string shown(const std::filesystem::path& path) {
  return is_standard_input(path) ? "standard input" : one_line(path.string(), 4096);
}

// How often something happened, and to which files.
struct Happenings {
  std::size_t count = 0;
  std::vector<std::string> names;  // at most empty_names_shown

  void add(const std::string& name) {
    ++count;
    if (names.size() < empty_names_shown && (names.empty() || names.back() != name)) {
      names.push_back(name);
    }
  }
  std::string list() const {
    return fmt::format("{}{}", fmt::join(names, ", "),
                       names.size() < empty_names_shown ? "" : ", ...");
  }
};

}  // namespace

struct TextSource::Impl {
  TextOptions options;
  TextFiles inputs;
  std::vector<std::filesystem::path> paths;
  bool standard_input = false;
  std::int64_t bytes_total = 0, bytes_before = 0;  // of all files, and of those done
  std::int64_t bad_lines = 0;
  std::vector<std::string> problems;
  Happenings blank_files, cuts;
  std::uint64_t file = 0;
  std::unique_ptr<LineReader> lines;     // of the file; none before it is opened
  std::unique_ptr<JsonObjects> objects;  // over the lines, of JSON that is not one object a line
  bool json = false, gave_any = false;   // of the file
  bool after_cut = false;                // the text at hand is the rest of one that was too long

  const std::filesystem::path& path() const { return paths[file]; }
  void open();
  void close();
  void bad(std::uint64_t line, const std::string& what);
  std::string too_long() const {
    return fmt::format("a text above {} MiB; split it", options.max_document_bytes >> 20);
  }
  std::uint64_t taken() const { return objects ? objects->taken() : lines ? lines->taken() : 0; }
  bool next_record(std::string_view& record, std::uint64_t& line, std::string& problem);
  bool next_json(std::string& text);
  bool next_plain(std::string& text);
};

// A JSON text in lines may be told by its name; a list or objects over several lines, and any text
// without a telling name, are recognised by how they begin.
void TextSource::Impl::open() {
  const TextKind kind = inputs.files[file].kind;
  const auto reader = [&](std::size_t most) {
    return std::make_unique<LineReader>(
        is_standard_input(path()) ? open_standard_input(options.keep_standard_input, options.stop)
                                  : open_byte_stream(path()),
        most, is_standard_input(path()) ? std::function<bool()>() : options.stop);
  };
  const std::size_t most_json = escaped * options.max_document_bytes;
  lines = reader(kind == TextKind::plain ? options.max_document_bytes / 2 : most_json);
  objects.reset();
  gave_any = after_cut = false;
  const std::string_view first = lines->peek();
  if (first.starts_with("\xFF\xFE") || first.starts_with("\xFE\xFF")) {
    fail_input("{} is UTF-16: `iconv -f UTF-16 -t UTF-8 FILE | memengine prepare -` reads it",
               shown(path()));
  }
  json = kind == TextKind::json_lines || kind == TextKind::json ||
         (kind == TextKind::by_content && begins_like_json(first));
  if (kind == TextKind::by_content && !json) lines->limit(options.max_document_bytes / 2);
  if (json && kind != TextKind::json_lines && begins_like_json(first) &&
      !begins_with_whole_object(first)) {
    objects = std::make_unique<JsonObjects>(*lines, most_json);
  }
}

void TextSource::Impl::close() {
  if (!gave_any) blank_files.add(shown(path()));
  objects.reset();
  lines.reset();
  bytes_before += inputs.files[file++].bytes;
}

void TextSource::Impl::bad(std::uint64_t line, const std::string& what) {
  const std::string problem = fmt::format("{}:{}: {}", shown(path()), line, what);
  gave_any = true;
  if (bad_lines >= options.max_bad_lines) {
    const std::string& option = options.bad_lines_option;
    if (option.empty()) fail_input("{}", problem);
    if (options.max_bad_lines == 0) fail_input("{}; {} skips such lines", problem, option);
    fail_input("{}; more than {} {}", problem, option, options.max_bad_lines);
  }
  ++bad_lines;
  if (problems.size() < max_problems) problems.push_back(problem);
}

// The text of the next object and its line; `problem` when it cannot be one.
bool TextSource::Impl::next_record(std::string_view& record, std::uint64_t& line,
                                   std::string& problem) {
  problem.clear();
  if (objects) {
    if (!objects->next(record)) return false;
    line = objects->number();
    problem = objects->problem();
    if (problem.empty() && objects->too_long()) problem = too_long();
    return true;
  }
  if (!lines->next(record)) return false;
  line = lines->number();
  if (lines->whole()) return true;
  while (!lines->whole() && lines->next(record)) continue;
  problem = too_long();
  return true;
}

bool TextSource::Impl::next_json(std::string& text) {
  std::uint64_t line = 0;
  std::string problem;
  for (std::string_view record; next_record(record, line, problem);) {
    if (problem.empty() && is_blank(record)) continue;
    if (problem.empty()) problem = read_json_field(record, options.fields, text);
    if (problem.empty() && text.size() > options.max_document_bytes) problem = too_long();
    if (problem.empty()) return true;
    bad(line, problem);
  }
  return false;
}

// A whole file, or a paragraph: the lines up to a blank one. Every line end is LF.
bool TextSource::Impl::next_plain(std::string& text) {
  text.clear();
  bool utf8 = true;
  for (std::string_view line; lines->next(line);) {
    const bool blank = is_blank(line);
    if (options.paragraphs && blank) {
      after_cut = false;
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
    if (after_cut && !blank) cuts.add(shown(path())), after_cut = false;
    if (lines->ended_by_newline() && line.ends_with('\r')) line.remove_suffix(1);
    if (utf8) text += line;
    if (utf8 && lines->ended_by_newline()) text += '\n';
    // Full: the rest of the text is another document.
    if (text.size() < options.max_document_bytes / 2) continue;
    if (options.paragraphs && text.back() == '\n') text.pop_back();
    if (!is_blank(text)) {
      after_cut = true;
      return true;
    }
    text.clear();
  }
  if (!utf8 || is_blank(text)) return false;
  if (options.paragraphs && text.back() == '\n') text.pop_back();
  return true;
}

TextSource::TextSource(const std::vector<std::filesystem::path>& inputs, const TextOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
  if (options.fields.empty()) fail_input("no text field is named");
  for (const std::string& field : options.fields) {
    if (field.empty()) fail_input("a text field's name is empty");
  }
  impl_->inputs = find_text_files(inputs);
  for (const TextFile& file : impl_->inputs.files) {
    impl_->paths.push_back(file.path);
    impl_->bytes_total += file.bytes;
    impl_->standard_input = impl_->standard_input || is_standard_input(file.path);
  }
}

TextSource::~TextSource() = default;

bool TextSource::next(std::string& text) {
  Impl& impl = *impl_;
  for (; impl.file < impl.paths.size(); impl.close()) {
    if (!impl.lines) impl.open();
    if (impl.json ? impl.next_json(text) : impl.next_plain(text)) {
      impl.gave_any = true;
      return true;
    }
  }
  return false;
}

TextPosition TextSource::position() const {
  return {impl_->file, impl_->taken()};
}

void TextSource::seek(TextPosition position, std::int64_t bad_lines) {
  Impl& impl = *impl_;
  if (position.file > impl.paths.size()) fail_input("the text files are fewer than before");
  impl.lines.reset();
  impl.objects.reset();
  impl.file = position.file;
  impl.bad_lines = bad_lines;
  impl.bytes_before = 0;
  for (std::uint64_t i = 0; i < position.file; ++i) impl.bytes_before += impl.inputs.files[i].bytes;
  if (position.line == 0 || impl.file == impl.paths.size()) return;
  impl.open();
  impl.gave_any = true;
  for (std::string_view record; impl.taken() < position.line;) {
    if (!(impl.objects ? impl.objects->next(record) : impl.lines->next(record)))
      fail_input("{} is shorter than before", shown(impl.path()));
  }
}

const std::vector<std::filesystem::path>& TextSource::files() const {
  return impl_->paths;
}

bool TextSource::reads_standard_input() const {
  return impl_->standard_input;
}

std::int64_t TextSource::bytes_read() const {
  return impl_->bytes_before + (impl_->lines ? impl_->lines->stored_bytes() : 0);
}

std::int64_t TextSource::bytes_total() const {
  return impl_->standard_input ? 0 : impl_->bytes_total;
}

std::int64_t TextSource::bad_lines() const {
  return impl_->bad_lines;
}

const std::vector<std::string>& TextSource::problems() const {
  return impl_->problems;
}

const std::vector<std::string>& TextSource::left_out() const {
  return impl_->inputs.left_out;
}

std::vector<std::string> TextSource::notices() const {
  std::vector<std::string> notices;
  const Happenings &blank = impl_->blank_files, &cuts = impl_->cuts;
  if (blank.count > 0) {
    notices.push_back(fmt::format("files without any text: {}: {}", blank.count, blank.list()));
  }
  if (cuts.count > 0) {
    notices.push_back(
        fmt::format("plain texts longer than {} MiB went on as another document, cut {} times: {}",
                    impl_->options.max_document_bytes >> 21, cuts.count, cuts.list()));
  }
  return notices;
}

}  // namespace memengine
