// What may stand in a name, and what replaces the rest.
#include "io/prepare/source_name.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "io/text/text_files.h"
#include "io/text/unicode_classes.h"
#include "io/text/utf8.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Letters with a mark on them may come as two characters, as macOS writes them.
bool is_combining_mark(char32_t code) {
  return code >= 0x300 && code <= 0x36F;
}

bool may_stand(const Utf8Character& character) {
  if (!character.valid) return false;
  const char32_t code = character.code;
  if (code == '.' || code == '_' || code == '-' || is_combining_mark(code)) return true;
  const CharacterClass kind = character_class(code);
  return kind == CharacterClass::letter || kind == CharacterClass::number;
}

std::string without_endings(std::string name) {
  static constexpr std::array endings = {".gz",     ".gzip",      ".zst",  ".zstd", ".jsonl",
                                         ".ndjson", ".jsonlines", ".json", ".text", ".txt"};
  for (bool more = true; more;) {
    more = false;
    for (const std::string_view ending : endings) {
      const bool there =
          name.size() > ending.size() &&
          std::equal(ending.rbegin(), ending.rend(), name.rbegin(), [](char a, char b) {
            return a == std::tolower(static_cast<unsigned char>(b));
          });
      if (there) name.resize(name.size() - ending.size()), more = true;
    }
  }
  return name;
}

}  // namespace

bool can_name_source(std::string_view name) {
  if (name.empty() || name[0] == '.') return false;
  while (!name.empty()) {
    const Utf8Character character = decode_utf8(name);
    if (!may_stand(character)) return false;
    name.remove_prefix(character.length);
  }
  return true;
}

std::string source_name(const fs::path& input) {
  if (is_standard_input(input)) return "stdin";
  std::error_code ignored;
  const fs::path whole = fs::absolute(input).lexically_normal();
  std::string name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  if (!fs::is_directory(input, ignored)) name = without_endings(name);
  if (can_name_source(name)) return name;
  std::string usable;
  for (std::string_view rest = name; !rest.empty();) {
    const Utf8Character character = decode_utf8(rest);
    const bool stands = may_stand(character) && !(usable.empty() && rest[0] == '.');
    usable += stands ? rest.substr(0, character.length) : "-";
    rest.remove_prefix(character.length);
  }
  return fmt::format("{}-{:08x}", usable,
                     static_cast<std::uint32_t>(XXH3_64bits(name.data(), name.size())));
}

}  // namespace memengine
