// Which files a list of inputs stands for, and what kind of text each of them holds.
//
// Names tell kinds, in upper or lower case, without an ending .gz, .gzip, .zst or .zstd:
//
//   .jsonl .ndjson .jsonlines   one JSON object per line
//   .json                       the same, or a list of objects, or objects over several lines
//   .txt .text                  plain text
//   none, or a part's number    (corpus.zst, part-00001.gz; compressed files only): its first
//                               characters tell
//
// "-" is standard input; its first characters tell. What stands in a folder but is not read is
// listed: hidden files (a name that begins with '.', or below such a folder), other kinds, and what
// is no regular file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace memengine {

enum class TextKind { json_lines, json, plain, by_content };

struct TextFile {
  std::filesystem::path path;
  TextKind kind = TextKind::by_content;
  std::int64_t bytes = 0;  // as stored; 0 for standard input, where nobody knows
};

struct TextFiles {
  std::vector<TextFile> files;        // in the inputs' order; a folder's sorted by path
  std::vector<std::string> left_out;  // a line for each folder: how many of what, some by name
};

bool is_standard_input(const std::filesystem::path& path);

// Input errors: no input; one that is missing, of another kind or no regular file; a folder without
// texts or with Parquet files; standard input twice, or a terminal.
TextFiles find_text_files(const std::vector<std::filesystem::path>& inputs);

}  // namespace memengine
