// A shard is ours when it has a name that prepare gives and a sidecar that can be read.
#include "io/prepare/prepare_record.h"

#include <stdexcept>

#include "io/files/file.h"
#include "io/json/json_numbers.h"
#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_record_bytes = 256u << 20;

// "train_000000.bin", "val_000001.json".
bool is_output_name(const fs::path& name) {
  const std::string stem = name.stem().string();
  const std::size_t digits = stem.starts_with("train_") ? 6 : stem.starts_with("val_") ? 4 : 0;
  return digits > 0 && stem.size() >= digits + 6 &&
         stem.find_first_not_of("0123456789", digits) == stem.npos &&
         (name.extension() == ".bin" || name.extension() == ".json");
}

}  // namespace

std::vector<fs::path> shards_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".bin") found.push_back(entry.path());
  }
  return found;
}

void check_only_ours(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path path = entry.path(), name = path.filename();
    if (path.extension() != ".bin" && !is_output_name(name)) continue;
    bool ours = is_output_name(name) && fs::is_regular_file(entry.symlink_status());
    try {
      ours = ours && read_shard_sidecar(shard_sidecar_path(path)).has_value();
    } catch (const Error&) {
      ours = false;
    }
    if (!ours) {
      fail_input(
          "{}: was not made by prepare (a shard and its sidecar): move it away, or choose "
          "another output folder",
          path.string());
    }
  }
}

std::optional<nlohmann::json> read_prepare_record(const fs::path& marker) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(marker, error))) return std::nullopt;
  const auto json = nlohmann::json::parse(read_text_file(marker, max_record_bytes), nullptr,
                                          /*allow_exceptions=*/false);
  const auto fingerprint = json.is_object() ? json.find("fingerprint") : json.end();
  const bool ours = json.is_object() && fingerprint != json.end() && fingerprint->is_string();
  return ours ? std::optional(json) : std::nullopt;
}

PreparedSource read_done(const nlohmann::json& json, const std::string& name,
                         const fs::path& marker) {
  PreparedSource done;
  done.name = name;
  const auto count = [&](const char* key) {
    const auto number = whole_number<std::int64_t>(json.at(key));
    if (number < 0) throw std::invalid_argument(key);
    return number;
  };
  try {
    done.train_documents = count("train_documents");
    done.train_tokens = count("train_tokens");
    done.train_shards = count("train_shards");
    done.val_documents = count("val_documents");
    done.val_tokens = count("val_tokens");
    done.val_shards = count("val_shards");
    done.text_bytes = count("text_bytes");
    done.bad_lines = count("bad_lines");
  } catch (const std::exception&) {
    fail_input(
        "{}: is damaged (a count is missing or no number): remove it and prepare with "
        "--overwrite",
        marker.string());
  }
  done.already_done = true;
  return done;
}

}  // namespace memengine
