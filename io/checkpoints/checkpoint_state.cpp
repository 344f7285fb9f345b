// See checkpoint_state.h.
#include "io/checkpoints/checkpoint_state.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/json/json_numbers.h"
#include "io/json/json_text.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using nlohmann::json;

constexpr std::string_view format_name = "memengine checkpoint";
// Increments have a version of their own, so that a program that knows none refuses them.
constexpr std::int64_t format_version = 1;
constexpr std::int64_t increment_version = 2;
// And so have those that several ranks wrote, increments or not.
constexpr std::int64_t spread_version = 3;

std::string hex(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

std::uint64_t from_hex(const json& text) {
  const std::string& digits = text.get_ref<const std::string&>();
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) throw std::invalid_argument("");
  return value;
}

// The document without its checksum, then with it.
std::string sealed(json document) {
  document.erase("checksum");
  const std::string body = document.dump(1);
  document["checksum"] = hex(block_checksum(std::as_bytes(std::span(body))));
  return document.dump(1) + "\n";
}

json to_json(const StateValue& value, const std::string& key) {
  return std::visit(
      [&key](const auto& v) -> json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, double>) {
          if (!std::isfinite(v)) fail_internal("checkpoint state '{}' is {}", key, v);
        }
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) return json_text(v);
        return v;
      },
      value);
}

StateValue from_json(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_number_integer()) return whole_number<std::int64_t>(value);
  return text_of_json(value);
}

}  // namespace

std::uint64_t block_checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string state_checksum(std::string_view text) {
  return hex(block_checksum(std::as_bytes(std::span(text))));
}

std::string write_state(const StateFile& state) {
  json document;
  document["format"] = format_name;
  document["version"] = !state.spread.empty() ? spread_version
                        : state.increment     ? increment_version
                                              : format_version;
  if (!state.spread.empty()) document["spread"] = state.spread;
  if (state.increment) {
    document["base"] = {{"step", state.increment->base.step},
                        {"checksum", state.increment->base.checksum}};
    document["patches"] = state.increment->patches;
  }
  document["step"] = state.step;
  if (!state.owner.empty()) document["owner"] = state.owner;
  document["state"] = json::object();
  for (const auto& [name, section] : state.sections) {
    json& object = document["state"][name] = json::object();
    for (const auto& [key, value] : section) object[key] = to_json(value, key);
  }
  document["files"] = json::object();
  for (const auto& [name, sums] : state.files) {
    json blocks = json::array();
    for (const std::uint64_t sum : sums.blocks) blocks.push_back(hex(sum));
    document["files"][name] = {
        {"bytes", sums.bytes}, {"block_bytes", sums.block_bytes}, {"xxh3", std::move(blocks)}};
  }
  try {
    return sealed(std::move(document));
  } catch (const json::exception&) {
    fail_internal("checkpoint state holds text that is not UTF-8");
  }
}

StateFile read_state(const std::string& name, std::string_view text) {
  const auto watch = [&name](int depth, json::parse_event_t, json&) {
    if (depth > 5) fail_input("{}: is damaged; use an older checkpoint", name);
    return true;
  };
  try {
    const json document = json::parse(text, watch);
    if (document.at("format") != format_name) {
      fail_input("{}: is not a checkpoint of this program", name);
    }
    const json& version = document.at("version");
    if (version != format_version && version != increment_version && version != spread_version) {
      fail_input("{}: has format version {}; this program reads versions {} to {}", name,
                 one_line(version.dump(), 20), format_version, spread_version);
    }
    if (sealed(document) != text) {
      fail_input("{}: does not match its own checksum; use an older checkpoint", name);
    }
    StateFile state;
    state.step = whole_number<std::int64_t>(document.at("step"));
    if (document.contains("owner")) state.owner = document.at("owner").get<std::string>();
    if (version == spread_version) {
      state.spread = document.at("spread").get<std::vector<std::string>>();
      if (state.spread.empty()) fail_input("{}: names no spread files", name);
    }
    if (version == increment_version || (version == spread_version && document.contains("base"))) {
      state.increment.emplace();
      state.increment->base = {whole_number<std::int64_t>(document.at("base").at("step")),
                               document.at("base").at("checksum").get<std::string>()};
      if (state.increment->base.step < 0 || state.increment->base.step >= state.step) {
        fail_input("{}: its base is of step {}, not before its own", name,
                   state.increment->base.step);
      }
      for (const auto& [tensor, rows] : document.at("patches").items()) {
        state.increment->patches[tensor] = rows.get<std::string>();
      }
    }
    for (const auto& [section, values] : document.at("state").items()) {
      StateSection& target = state.sections[section];
      for (const auto& [key, value] : values.items()) target[key] = from_json(value);
    }
    for (const auto& [file, entry] : document.at("files").items()) {
      BlockChecksums& sums = state.files[file];
      sums.bytes = whole_number<std::uint64_t>(entry.at("bytes"));
      sums.block_bytes = whole_number<std::uint64_t>(entry.at("block_bytes"));
      for (const json& sum : entry.at("xxh3")) sums.blocks.push_back(from_hex(sum));
      const std::uint64_t size = sums.block_bytes;
      if (size < 1 || size > (1u << 30) ||
          sums.blocks.size() != sums.bytes / size + (sums.bytes % size != 0)) {
        fail_input("{}: its checksums do not cover {}", name, one_line(file));
      }
      if (file.empty() || file == ".." || std::filesystem::path(file).filename() != file) {
        fail_input("{}: '{}' is not a file of this checkpoint", name, one_line(file));
      }
    }
    for (const std::string& file : state.spread) {
      if (!state.files.contains(file)) {
        fail_input("{}: has no checksums of its spread file {}", name, one_line(file));
      }
    }
    return state;
  } catch (const json::exception&) {
    fail_input("{}: is damaged (not the JSON of a checkpoint); use an older checkpoint", name);
  } catch (const std::invalid_argument&) {
    fail_input("{}: holds a checksum or a count that is no number; use an older checkpoint", name);
  }
}

}  // namespace memengine
