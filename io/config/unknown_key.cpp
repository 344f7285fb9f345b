#include "io/config/unknown_key.h"

#include <algorithm>
#include <string_view>

#include "io/config/yaml_values.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

std::string nearest_key(const std::string& key, const KeySet& known, const KeySet& ignored) {
  std::string nearest;
  std::size_t best = SIZE_MAX;
  // An item of a list has its own keys.
  const std::size_t item = key.rfind("].");
  const std::string inside = item == std::string::npos ? "" : key.substr(0, item + 2);
  for (const KeySet* keys : {&known, &ignored}) {
    for (const std::string& candidate : *keys) {
      if (!candidate.starts_with(inside) || !is_alike(last_part(key), last_part(candidate)))
        continue;
      const std::size_t whole = 2 * edit_distance(key, candidate);
      const std::size_t last = 2 * edit_distance(last_part(key), last_part(candidate)) + 1;
      if (std::min(whole, last) < best) {
        best = std::min(whole, last);
        nearest = candidate;
      }
    }
  }
  return nearest;
}

// The names right below a section; "" is the whole config.
std::string names_below(const KeySet& known, const std::string& section) {
  const std::string prefix = section.empty() ? "" : section + ".";
  std::set<std::string> names;
  for (const std::string& key : known) {
    if (!key.starts_with(prefix)) continue;
    const std::string rest = key.substr(prefix.size());
    names.insert(rest.substr(0, rest.find_first_of(".[")));
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

}  // namespace

bool is_alike(std::string_view a, std::string_view b) {
  const std::size_t longer = std::max(a.size(), b.size());
  if (longer == 0) return true;
  const std::size_t most = std::max(std::min<std::size_t>(2, longer - 1), 2 * longer / 5);
  return edit_distance(a, b) <= most;
}

bool is_section(const KeySet& known, const std::string& key) {
  const auto next = known.lower_bound(key + ".");
  return next != known.end() && next->starts_with(key + ".");
}

void fail_unknown_key(const std::string& where, const std::string& key, const KeySet& known,
                      const KeySet& ignored) {
  const std::string shown = one_line(key, 120);
  const std::string nearest = nearest_key(key, known, ignored);
  if (!nearest.empty()) {
    fail_input("{}: unknown key '{}'; did you mean '{}'?", where, shown, nearest);
  }
  std::string section = key;
  do {
    const std::size_t dot = section.rfind('.');
    section = dot == std::string::npos ? "" : section.substr(0, dot);
  } while (!section.empty() && !is_section(known, section));
  const std::string names = names_below(known, section);
  if (names.empty()) fail_input("{}: unknown key '{}'", where, shown);
  fail_input("{}: unknown key '{}', and none is like it; {} has {}", where, shown,
             section.empty() ? "a config" : "'" + section + "'", names);
}

}  // namespace memengine
