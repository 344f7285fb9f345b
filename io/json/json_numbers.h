// Whole numbers of JSON from strangers: nlohmann's own conversion takes 4e81 for an integer too.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace memengine {

// The number when it is a whole one that fits; std::invalid_argument otherwise.
template <typename Number>
Number whole_number(const nlohmann::json& value) {
  static_assert(std::is_same_v<Number, std::int64_t> || std::is_same_v<Number, std::uint64_t>);
  const bool fits = std::is_same_v<Number, std::uint64_t>
                        ? value.is_number_unsigned()
                        : value.is_number_integer() && (!value.is_number_unsigned() ||
                                                        value.get<std::uint64_t>() <= INT64_MAX);
  if (!fits) throw std::invalid_argument("not a whole number");
  return value.get<Number>();
}

}  // namespace memengine
