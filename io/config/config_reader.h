// Reads a YAML file plus `a.b.c=value` overrides and binds dotted keys to C++ fields.
//
// Mechanism only: which keys exist is said by the code that binds them, once, in schema order:
//
//   ConfigReader reader = ConfigReader::from_file("run.yaml", {"optim.lr=3e-4"});
//   reader.bind("optim.lr", config.optim.lr);     // keeps the field's value when the key is absent
//   reader.ignore("distributed.compile", "nothing is compiled at run time");
//   reader.finish();                              // a key that nothing bound is an error
//   reader.dump();                                // all bound values as YAML, which re-reads equal
//
// Values may refer to others: YAML's anchors and merge keys, and OmegaConf's ${a.b}
// (interpolation.h).
//
// Every error is one line with file:line (or the override), the key, and what to do. Files come
// from strangers: size, depth and node count are limited, also of what aliases and interpolation
// make.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace memengine {

class ConfigReader {
 public:
  // One accepted name of an enumeration and its value.
  template <typename Enum>
  using Name = std::pair<std::string_view, Enum>;

  // Limits on a file; far above any honest config.
  static constexpr std::size_t max_bytes = 1 << 20;
  static constexpr std::size_t max_nodes = 20'000;
  static constexpr std::size_t max_depth = 32;

  // An empty configuration: binding then only records values, for dump().
  ConfigReader();
  ~ConfigReader();
  ConfigReader(ConfigReader&&) noexcept;
  ConfigReader& operator=(ConfigReader&&) noexcept;

  // Overrides are `dotted.key=value` with the value in YAML; they replace or add what the file
  // says, the last one winning. An empty map, list or value is allowed. `defaults` is YAML that
  // interpolation finds keys in which the config leaves out. Throws input errors.
  static ConfigReader from_file(const std::string& path,
                                std::span<const std::string> overrides = {},
                                std::string_view defaults = {});
  static ConfigReader from_text(std::string_view yaml, const std::string& name,
                                std::span<const std::string> overrides = {},
                                std::string_view defaults = {});

  // Assigns the key's value where the key is present; the field's current value is the default.
  // A number may be quoted; an integer may be written as 1e6; text may be any single value.
  void bind(std::string_view key, bool& field);
  void bind(std::string_view key, std::int64_t& field);
  void bind(std::string_view key, double& field);
  void bind(std::string_view key, std::string& field);
  void bind(std::string_view key, std::vector<std::string>& field);
  void bind(std::string_view key, std::map<std::string, double>& field);
  // `null` empties the field.
  template <typename T>
  void bind(std::string_view key, std::optional<T>& field);
  // A path: text whose `~` is the home folder (io/files/home.h).
  void bind_path(std::string_view key, std::string& field);
  void bind_path(std::string_view key, std::optional<std::string>& field);
  // One of `names`, spelled exactly. Of several names of one value the first is the one dumped.
  template <typename Enum>
  void bind_enum(std::string_view key, Enum& field, std::span<const Name<Enum>> names);
  // A list of maps: `bind_item(path, item)` binds the keys below `path` of one item. An item that
  // is a plain value `x` is read as the map `{<scalar_key>: x}`.
  template <typename T, typename BindItem>
  void bind_list(std::string_view key, std::vector<T>& field, std::string_view scalar_key,
                 BindItem bind_item);

  // Accepts the key and everything below it without reading it; noted when present and not null.
  void ignore(std::string_view key, std::string_view why);
  // Accepts the key, like ignore, only while its value is one of `allowed` (or null); any other
  // value is an input error that ends with `why`.
  void require(std::string_view key, std::span<const std::string_view> allowed,
               std::string_view why);

  // Whether the file or an override names the key (null counts).
  bool has(std::string_view key) const;
  // The characters of the key's single value; empty for all else.
  std::string text(std::string_view key) const;
  // "run.yaml:12", "override optim.lr=1" or, for an absent key, the file's name.
  std::string where(std::string_view key) const;
  // Sentences about accepted keys without meaning, in the order met.
  const std::vector<std::string>& notices() const;

  // Fails on the first key of the file that nothing bound, and names the nearest known one.
  void finish() const;

  // Every bound key with its resolved value as YAML, in the order bound.
  const std::vector<std::pair<std::string, std::string>>& values() const;
  // The same as one document, in the order bound. Ignored keys are left out.
  std::string dump() const;
  // Every key that is accepted: bound, required, or ignored with all that is below it.
  std::vector<std::string> keys() const;

 private:
  struct Impl;
  bool is_null(std::string_view key) const;
  void record_null(std::string_view key);
  std::string bind_name(std::string_view key, std::string_view current,
                        std::span<const std::string_view> names);
  // bind_list's untyped half: number of items given (nullopt: key absent), then begin/end of an
  // item being recorded as one flow map.
  std::optional<std::size_t> list_size(std::string_view key, std::string_view scalar_key);
  std::size_t mark_records() const;
  std::string fold_item(std::size_t mark, std::string_view item_path);
  void record_list(std::string_view key, const std::vector<std::string>& items);

  std::unique_ptr<Impl> impl_;
};

template <typename T>
void ConfigReader::bind(std::string_view key, std::optional<T>& field) {
  if (is_null(key) || (!has(key) && !field)) {
    field.reset();
    record_null(key);
    return;
  }
  T value = field.value_or(T{});
  bind(key, value);
  field = std::move(value);
}

template <typename Enum>
void ConfigReader::bind_enum(std::string_view key, Enum& field, std::span<const Name<Enum>> names) {
  std::vector<std::string_view> words;
  std::string_view current;
  for (const auto& [word, value] : names) {
    words.push_back(word);
    if (value == field && current.empty()) current = word;
  }
  const std::string chosen = bind_name(key, current, words);
  for (const auto& [word, value] : names) {
    if (word == chosen) field = value;
  }
}

template <typename T, typename BindItem>
void ConfigReader::bind_list(std::string_view key, std::vector<T>& field,
                             std::string_view scalar_key, BindItem bind_item) {
  if (const auto given = list_size(key, scalar_key)) field.assign(*given, T{});
  std::vector<std::string> items;
  for (std::size_t i = 0; i < field.size(); ++i) {
    const std::string path = std::string(key) + "[" + std::to_string(i) + "]";
    const std::size_t mark = mark_records();
    bind_item(path, field[i]);
    items.push_back(fold_item(mark, path));
  }
  record_list(key, items);
}

}  // namespace memengine
