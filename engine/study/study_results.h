// What a study keeps of a run, and what it knows by that. study.h has the folders.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/study/study.h"

namespace memengine {

// What makes a run another one: its config and the commands that make its data.
nlohmann::ordered_json study_identity(const Study& study, const StudyRun& run);

// Whether a file is a JSON object that holds all members of `identity` with equal values. A file
// that is not there or is damaged: false.
bool holds_identity(const std::filesystem::path& file, const nlohmann::ordered_json& identity);

// Copies the small files of a run that has ended, result.json last, each written as a whole.
void keep_result(const Study& study, const StudyRun& run, double wall_seconds);

// Whether a folder holds what is carried of a study to another machine and nothing else: results/,
// each with its result.json, perhaps runs/, logs/ and report.html.
bool holds_carried_results(const std::filesystem::path& out);

// The last line of a text file whose text from byte `column` begins with `begins`; "" where there
// is none. In the file's last 64 KiB.
std::string last_line(const std::filesystem::path& path, std::size_t column = 0,
                      std::string_view begins = "");
// Why a command that wrote `log` failed: what it said itself ("memengine: ..."), which need not
// stand last, because what it printed before may have been written later; else the last line.
std::string failure_told(const std::filesystem::path& log);

}  // namespace memengine
