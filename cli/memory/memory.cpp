// memengine memory COMMAND: arguments that the commands share, and what they say alike.
#include "cli/memory/memory.h"

#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <filesystem>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "io/files/file.h"

namespace memengine {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void add_model(CLI::App& command, MemoryArguments& arguments) {
  command
      .add_option("model", arguments.model.model,
                  "A checkpoint, a run's folder or an exported model")
      ->required();
  command
      .add_option("--tokenizer", arguments.model.tokenizer,
                  "Tokenizer file (or 'bytes') in place of the model's own")
      ->transform(home_path());
  command.add_option("--device", arguments.model.device, "Where to run")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  command.add_flag("--fp32", arguments.model.fp32, "Compute in FP32 on a GPU, not in BF16");
  command.add_option("--rows-per-pass", arguments.model.rows, "Tokens of one pass; 0: many")
      ->check(CLI::Range(std::int64_t{0}, most_tokens_of_a_pass));
}

void add_corpus(CLI::App& command, MemoryArguments& arguments) {
  command
      .add_option("--data", arguments.corpus.data,
                  "Token shards: a folder or a .bin file; may be repeated; else what the model was "
                  "trained on")
      ->allow_extra_args(false)
      ->type_name("SHARDS")
      ->transform(home_path());
  command.add_option("--split", arguments.corpus.split, "Of the shards")
      ->check(CLI::IsMember({"train", "val"}));
  command
      .add_option("--tokens", arguments.corpus.tokens,
                  "Read at most so many, from all shards alike; 0: all")
      ->check(at_least(0));
}

void add_json(CLI::App& command, MemoryArguments& arguments) {
  command.add_flag("--json", arguments.json, "Print JSON instead of a table");
}

void add_html(CLI::App& command, MemoryArguments& arguments) {
  command.add_option("-o,--html", arguments.html, "Also write a page that opens offline")
      ->transform(home_path());
}

CorpusProgress ReadingLine::progress() {
  return [this](std::int64_t done, std::int64_t all) { show(what_, done, all); };
}

void ReadingLine::show(const std::string& what, std::int64_t done, std::int64_t all) {
  if (isatty(STDERR_FILENO) == 0) return;
  const double time = now();
  if (what != what_ || begin_ == 0 || done <= length_) begin_ = time;
  what_ = what;
  length_ = done;
  if (time - shown_ < 0.2 && done < all) return;
  shown_ = time;
  const double seconds = time - begin_;
  const double left =
      done > 0 ? seconds / static_cast<double>(done) * static_cast<double>(all - done) : 0;
  fmt::print(stderr, "\r\x1b[K{}  {} of {}  left {}", printable(what), grouped(done), grouped(all),
             duration_text(left));
  std::fflush(stderr);
}

void ReadingLine::clear() {
  if (shown_ > 0) fmt::print(stderr, "\r\x1b[K");
  shown_ = 0;
}

bool said_in_json(const MemoryArguments& arguments, const Json& json) {
  if (arguments.json) print_text(json_text(json));
  return arguments.json;
}

void check_page(const MemoryArguments& arguments) {
  namespace fs = std::filesystem;
  if (arguments.html.empty()) return;
  std::error_code error;
  const fs::path file = arguments.html;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (fs::is_directory(file, error))
    fail_input("--html: {} is a folder: name a file", file.string());
  if (!fs::is_directory(folder, error)) fail_input("--html: no folder {}", folder.string());
  const fs::path trial = file.string() + ".trial";
  write_file_atomically(FileSystem::real(), trial, "");
  FileSystem::real().remove_all(trial);
}

void write_page(const MemoryArguments& arguments, const std::string& page) {
  write_file_atomically(FileSystem::real(), arguments.html, page);
  if (!arguments.json) print("wrote {}\n", arguments.html);
}

std::string share_text(std::int64_t part, std::int64_t whole) {
  return fmt::format(
      "{} of {} ({:.1f}%)", grouped(part), grouped(whole),
      100.0 * static_cast<double>(part) / static_cast<double>(std::max<std::int64_t>(whole, 1)));
}

std::vector<std::int64_t> parse_rows(const std::string& text) {
  std::string list = text;
  if (text.starts_with('@')) list = read_text_file(text.substr(1), 64u << 20);
  std::vector<std::int64_t> rows;
  const char* at = list.data();
  const char* end = at + list.size();
  while (true) {
    while (at != end && (*at == ',' || *at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
      ++at;
    if (at == end) break;
    std::int64_t row = 0;
    const auto [after, error] = std::from_chars(at, end, row);
    if (error != std::errc() || row < 0) {
      fail_input("rows '{}': list numbers as \"3,17\", or @FILE with such a list", text);
    }
    rows.push_back(row);
    at = after;
  }
  if (rows.empty()) fail_input("rows '{}': no numbers there", text);
  return rows;
}

void add_memory_command(CLI::App& program) {
  CLI::App* memory = program.add_subcommand("memory", "Look inside a model's memory");
  memory->require_subcommand(1);
  memory->footer(
      "  memengine memory use runs/demo/runs/memory-seed42 -o use.html\n"
      "  memengine memory text runs/demo/runs/memory-seed42 \"Irene Rain Highham was born in\" -o "
      "text.html\n"
      "  memengine memory row runs/demo/runs/memory-seed42 4711\n"
      "  memengine memory ablate runs/demo/runs/memory-seed42\n"
      "docs/inside_the_memory.md has what they show.");
  add_memory_use(*memory);
  add_memory_text(*memory);
  add_memory_row(*memory);
  add_memory_ablate(*memory);
  add_memory_diff(*memory);
  add_memory_facts(*memory);
  add_memory_count(*memory);
}

}  // namespace memengine
