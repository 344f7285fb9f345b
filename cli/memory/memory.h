// memengine memory use | text | row | ablate | diff | facts: a look inside the memory; count: what
// sparse finetuning needs to know of it.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/terminal.h"
#include "engine/memory_probe/corpus.h"
#include "engine/memory_probe/probe_json.h"
#include "engine/memory_probe/probe_model.h"

namespace memengine {

// What the commands have in common.
struct MemoryArguments {
  ProbeOptions model;
  CorpusOptions corpus;
  bool json = false;
  std::string html;  // a file; empty: none
};

constexpr std::int64_t most_tokens_of_a_pass = 16'777'216;

void add_model(CLI::App& command, MemoryArguments& arguments);
void add_corpus(CLI::App& command, MemoryArguments& arguments);
void add_json(CLI::App& command, MemoryArguments& arguments);
void add_html(CLI::App& command, MemoryArguments& arguments);

void add_memory_use(CLI::App& memory);
void add_memory_text(CLI::App& memory);
void add_memory_row(CLI::App& memory);
void add_memory_ablate(CLI::App& memory);
void add_memory_diff(CLI::App& memory);
void add_memory_facts(CLI::App& memory);
void add_memory_count(CLI::App& memory);

// Tokens read, tokens per second, time left: a line that is renewed, on stderr's terminal only.
class ReadingLine {
 public:
  explicit ReadingLine(std::string what) : what_(std::move(what)) {}
  CorpusProgress progress();
  void show(const std::string& what, std::int64_t done, std::int64_t all);
  void clear();

 private:
  std::string what_;
  double begin_ = 0, shown_ = 0;
  std::int64_t length_ = 0;
};

// Prints the JSON where it was asked for; true then.
bool said_in_json(const MemoryArguments& arguments, const Json& json);
// Before the work: input error where no page can be written to the file that was asked for.
void check_page(const MemoryArguments& arguments);
// Writes a page, whole or not at all, and says where.
void write_page(const MemoryArguments& arguments, const std::string& page);

// "1,234 of 9,216 (13.4%)".
std::string share_text(std::int64_t part, std::int64_t whole);
// The rows of RowReports in words.
void print_row(const ProbeModel& model, const RowReport& row, std::int64_t tokens);
// "3,17" or "@FILE", one number or several a line.
std::vector<std::int64_t> parse_rows(const std::string& text);

}  // namespace memengine
