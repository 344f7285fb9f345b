// Results as text for people and as JSON for programs.
#pragma once

#include <string>

#include "engine/bench/results.h"

namespace memengine::bench {

// Lines of the tables, without line ends; the heads may have several.
std::string ceiling_line(const CeilingResult& result);
std::string op_head();
std::string op_line(const OpResult& result);
std::string step_head();
std::string step_line(const StepResult& result);
std::string decode_head();
std::string decode_line(const DecodeResult& result);

// The ten costliest ops of a case, next to its measured step (nullptr: not measured). Several
// lines.
std::string costliest_ops(const Results& results, const std::string& bench_case,
                          const StepResult* step);

std::string to_json(const Results& results);
// Into a file; an empty path: nowhere. Input error where it cannot be written.
void write_json(const Results& results, const std::string& path);
// Input error where it could not: asked before what takes minutes. Leaves nothing there.
void check_json_path(const std::string& path);

}  // namespace memengine::bench
