// A run's name without its seed.
#include "engine/report/run_record.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace memengine {
namespace {

bool parts_names(char c) {
  return std::string_view("-_. /").find(c) != std::string_view::npos;
}

// Bytes of "-seed42", "_s=7" or the like that `text` begins with, 0 where it does not. `whole`: the
// text is a name from its first letter on, which may do without the sign before the word.
std::size_t seed_bytes(std::string_view text, bool whole) {
  std::string_view rest = text;
  if (!rest.empty() && parts_names(rest.front()))
    rest.remove_prefix(1);
  else if (!whole)
    return 0;
  if (!rest.starts_with('s')) return 0;
  rest.remove_prefix(rest.starts_with("seed") ? 4 : 1);
  if (!rest.empty() && std::string_view("-_=").find(rest.front()) != std::string_view::npos) {
    rest.remove_prefix(1);
  }
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  rest.remove_prefix(digits);
  if (digits == 0 || !(rest.empty() || parts_names(rest.front()))) return 0;
  return text.size() - rest.size();
}

}  // namespace

std::string without_seed(const std::string& name) {
  std::string rest;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t seed = seed_bytes(std::string_view(name).substr(at), at == 0);
    if (seed == 0) rest += name[at++];
    at += seed;
  }
  return rest.empty() ? name : rest;
}

}  // namespace memengine
