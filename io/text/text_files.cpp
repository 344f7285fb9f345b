// Names and folders; nothing is opened.
#include "io/text/text_files.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t names_shown = 5;

std::string in_lower_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// By the name; none when it is of a kind that is not read.
std::optional<TextKind> kind_of(const fs::path& path) {
  fs::path name = in_lower_case(path.filename().string());
  std::string ending = name.extension().string();
  bool packed = false;
  while (ending == ".gz" || ending == ".gzip" || ending == ".zst" || ending == ".zstd") {
    packed = true;
    name = name.stem();
    ending = name.extension().string();
  }
  if (ending == ".jsonl" || ending == ".ndjson" || ending == ".jsonlines") {
    return TextKind::json_lines;
  }
  if (ending == ".json") return TextKind::json;
  if (ending == ".txt" || ending == ".text") return TextKind::plain;
  const bool numbered = std::any_of(ending.begin(), ending.end(),
                                    [](unsigned char c) { return std::isdigit(c) != 0; });
  if (packed && (ending.empty() || numbered)) return TextKind::by_content;
  return std::nullopt;
}

bool is_parquet(const fs::path& path) {
  return in_lower_case(path.extension().string()) == ".parquet";
}

[[noreturn]] void refuse_parquet(const fs::path& path) {
  fail_input(
      "{} is a Parquet file, which this program does not read: stream it as JSON lines into "
      "`memengine prepare -` (docs/from_texts_to_a_model.md has the command)",
      one_line(path.string(), 4096));
}

TextFile with_size(const fs::path& path, TextKind kind) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) fail_input("cannot read {}: {}", one_line(path.string(), 4096), error.message());
  return {path, kind, static_cast<std::int64_t>(size)};
}

// What a folder holds and nobody reads, by reason.
struct LeftOut {
  const char* what;
  std::vector<std::string> names;

  std::string words() const {
    std::string text = fmt::format("{} {} (", names.size(), what);
    for (std::size_t i = 0; i < std::min(names.size(), names_shown); ++i) {
      text += (i == 0 ? "" : ", ") + one_line(names[i]);
    }
    return text + (names.size() > names_shown ? ", ...)" : ")");
  }
};

void add_folder(const fs::path& folder, TextFiles& found) {
  LeftOut hidden = {"hidden", {}}, other = {"of another kind", {}}, odd = {"no files", {}};
  std::vector<std::pair<fs::path, TextKind>> texts;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    const fs::path& path = at->path();
    std::error_code ignored;
    const std::string name = path.lexically_relative(folder).string();
    const bool is_folder = at->is_directory(ignored);
    if (path.filename().string().starts_with('.')) {
      hidden.names.push_back(name + (is_folder ? "/" : ""));
      if (is_folder) at.disable_recursion_pending();
    } else if (is_folder) {
      continue;
    } else if (!at->is_regular_file(ignored)) {
      odd.names.push_back(name);
    } else if (is_parquet(path)) {
      refuse_parquet(path);
    } else if (const auto kind = kind_of(path)) {
      texts.emplace_back(path, *kind);
    } else {
      other.names.push_back(name);
    }
  }
  if (error) fail_input("cannot read {}: {}", one_line(folder.string(), 4096), error.message());
  std::string left_out;
  for (LeftOut* part : {&hidden, &other, &odd}) {
    std::sort(part->names.begin(), part->names.end());
    if (!part->names.empty()) left_out += (left_out.empty() ? "" : ", ") + part->words();
  }
  if (texts.empty()) {
    fail_input("{} holds no texts (.jsonl, .json or .txt, also compressed){}",
               one_line(folder.string(), 4096), left_out.empty() ? "" : ", but " + left_out);
  }
  std::sort(texts.begin(), texts.end());
  for (const auto& [path, kind] : texts) found.files.push_back(with_size(path, kind));
  if (!left_out.empty()) {
    found.left_out.push_back(
        fmt::format("{}: not read: {}", one_line(folder.string(), 4096), left_out));
  }
}

}  // namespace

bool is_standard_input(const fs::path& path) {
  return path == "-";
}

TextFiles find_text_files(const std::vector<fs::path>& inputs) {
  if (inputs.empty()) fail_input("no input files are named");
  if (std::count(inputs.begin(), inputs.end(), fs::path("-")) > 1) {
    fail_input("standard input ('-') is named twice, and can be read once");
  }
  TextFiles found;
  for (const fs::path& input : inputs) {
    std::error_code error;
    const std::string shown = one_line(input.string(), 4096);
    if (is_standard_input(input)) {
      if (::isatty(STDIN_FILENO) != 0) {
        fail_input(
            "standard input ('-') is a terminal: pipe texts into it, for instance `zcat "
            "texts.jsonl.gz | memengine prepare - ...`");
      }
      found.files.push_back({input, TextKind::by_content, 0});
    } else if (fs::is_directory(input, error)) {
      add_folder(input, found);
    } else if (!fs::exists(input, error)) {
      fail_input("no such input: {}", shown);
    } else if (!fs::is_regular_file(input, error)) {
      fail_input("{} is no regular file: pipe such texts into `memengine prepare -`", shown);
    } else if (is_parquet(input)) {
      refuse_parquet(input);
    } else if (const auto kind = kind_of(input)) {
      found.files.push_back(with_size(input, *kind));
    } else {
      fail_input(
          "{}: not a kind of text this program reads by name (.jsonl, .json or .txt, also "
          "compressed with gzip or Zstandard); `memengine prepare - < FILE` reads any as plain "
          "text",
          shown);
    }
  }
  return found;
}

}  // namespace memengine
