// Groups by name; the names are those of our checkpoints and of Hugging Face's.
#include "cli/inspect/tensor_groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

namespace memengine {
namespace {

std::string form(const TensorInfo& tensor) {
  return fmt::format("{:<4} [{}]", file_dtype_name(tensor.dtype), fmt::join(tensor.shape, ", "));
}

struct Place {
  std::string before, after;  // "layers.", ".attention"; without a number all is in `before`
  std::int64_t layer = -1;
  std::string within;  // the rest of the name
};

bool is_number(const std::string& part) {
  return !part.empty() && part.size() < 10 && std::all_of(part.begin(), part.end(), [](char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
}

Place place_of(const std::string& name) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('.', at), name.size());
    parts.push_back(name.substr(at, end - at));
    at = end + 1;
  }
  Place place;
  const auto number = std::find_if(parts.begin(), parts.end(), is_number);
  auto next = parts.begin();
  if (number == parts.end() || number + 1 == parts.end()) {
    place.before = *next++;
  } else {
    for (; next != number; ++next) place.before += *next + ".";
    place.layer = std::stoll(*next++);
    place.after = "." + *next++;
    // A value table is worth a line of its own.
    if (next != parts.end() && next->starts_with("values")) place.after += "." + *next++;
  }
  place.within = fmt::format("{}", fmt::join(next, parts.end(), "."));
  return place;
}

// "0-3,7".
std::string ranges(const std::vector<std::int64_t>& layers) {
  std::string text;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(layers[i]);
    if (last > i) text += "-" + std::to_string(layers[last]);
    i = last + 1;
  }
  return text;
}

// The tensors of one part of one layer.
struct Part {
  Place place;
  std::vector<const TensorInfo*> tensors;
  std::string signature;  // equal for equal parts of other layers
};

}  // namespace

TensorGroup group_of(const TensorInfo& tensor) {
  return {tensor.name, form(tensor), tensor.bytes};
}

std::vector<TensorGroup> tensor_groups(const std::vector<TensorInfo>& tensors) {
  std::vector<Part> parts;  // in the file's order
  std::map<std::string, std::size_t> known;
  for (const TensorInfo& tensor : tensors) {
    Place place = place_of(tensor.name);
    const std::string name = fmt::format("{}{}{}", place.before, place.layer, place.after);
    const auto [found, is_new] = known.try_emplace(name, parts.size());
    if (is_new) parts.push_back({place, {}, place.before + place.after});
    Part& part = parts[found->second];
    part.tensors.push_back(&tensor);
    part.signature += fmt::format("|{} {}", place.within, form(tensor));
  }

  std::vector<TensorGroup> groups;
  std::vector<bool> done(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (done[i]) continue;
    const Part& part = parts[i];
    if (part.place.layer < 0 && part.tensors.size() == 1) {
      groups.push_back(group_of(*part.tensors.front()));
      continue;
    }
    std::vector<std::int64_t> layers;
    TensorGroup group;
    for (std::size_t other = i; other < parts.size(); ++other) {
      if (done[other] || parts[other].signature != part.signature) continue;
      done[other] = true;
      layers.push_back(parts[other].place.layer);
      for (const TensorInfo* tensor : parts[other].tensors) group.bytes += tensor->bytes;
    }
    std::sort(layers.begin(), layers.end());
    group.name = part.place.before;
    if (part.place.layer >= 0) group.name += ranges(layers) + part.place.after;
    const std::size_t count = part.tensors.size();
    if (count == 1 && !part.place.within.empty()) group.name += "." + part.place.within;
    group.what = count == 1 ? form(*part.tensors.front()) : fmt::format("{} tensors", count);
    if (layers.size() > 1) group.what = fmt::format("{} x {}", layers.size(), group.what);
    groups.push_back(group);
  }
  return groups;
}

}  // namespace memengine
