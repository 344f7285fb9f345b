// What stands in a source's folder: which of its files prepare made, and the record of a finished
// one, prepare.json.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "io/prepare/prepare.h"

namespace memengine {

// The shards in a folder, anybody's.
std::vector<std::filesystem::path> shards_in(const std::filesystem::path& folder);

// Input error where there are shards, or files of the names that prepare writes, which no prepare
// made: they would be taken for ours, and replaced.
void check_only_ours(const std::filesystem::path& folder);

// A prepare.json; none where it is not there, or where it is no record of ours.
std::optional<nlohmann::json> read_prepare_record(const std::filesystem::path& marker);

// What a record says. Input error where it is damaged.
PreparedSource read_done(const nlohmann::json& record, const std::string& name,
                         const std::filesystem::path& marker);

}  // namespace memengine
