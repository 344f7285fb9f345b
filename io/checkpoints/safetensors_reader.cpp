// See safetensors.h: a set of tensors over one file or several.
#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "io/checkpoints/checkpoint_state.h"
#include "io/checkpoints/safetensors.h"
#include "io/checkpoints/verified_file.h"
#include "io/files/lfs_pointer.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {

namespace fs = std::filesystem;

namespace {

// The checksums that stand beside a file for it.
std::optional<BlockChecksums> checksums_of(const fs::path& path) {
  const fs::path sums = path.parent_path() / checksums_name;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(sums, error))) return std::nullopt;
  StateFile state = read_state(sums.string(), read_text_file(sums, max_state_bytes));
  const auto found = state.files.find(path.filename().string());
  return found == state.files.end() ? std::nullopt : std::optional(std::move(found->second));
}

}  // namespace

struct SafetensorsReader::Part {
  explicit Part(const fs::path& path) : file(path) {
    std::string first(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 64)), '\0');
    file.read(0, std::as_writable_bytes(std::span(first)));
    refuse_lfs_pointer(path.string(), first);
    if (auto sums = checksums_of(path)) {
      verified = std::make_unique<VerifiedFile>(path, std::move(*sums));
      mutex = std::make_unique<std::mutex>();
    }
    header = read_safetensors_header(
        path.string(), file.size(),
        [this](std::uint64_t offset, std::span<std::byte> bytes) { read(offset, bytes); });
  }

  void read(std::uint64_t offset, std::span<std::byte> bytes) const {
    if (!verified) return file.read(offset, bytes);
    const std::lock_guard lock(*mutex);
    verified->read(offset, bytes);
  }

  InputFile file;
  std::unique_ptr<VerifiedFile> verified;  // the same file, where it has checksums
  std::unique_ptr<std::mutex> mutex;
  SafetensorsHeader header;
};

SafetensorsReader::SafetensorsReader(const fs::path& path) {
  fs::path target = path;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    target = path / "model.safetensors";  // also beside an index, as the ecosystem does
    if (!fs::exists(target, ignored)) target = path / "model.safetensors.index.json";
    if (!fs::exists(target, ignored)) {
      fail_input("{}: holds neither model.safetensors nor model.safetensors.index.json",
                 path.string());
    }
  }
  if (target.extension() == ".json") {
    open_index(target);
  } else {
    parts_.emplace_back(target);
    metadata_ = parts_[0].header.metadata;
  }
  std::vector<std::pair<const TensorInfo*, std::size_t>> order;
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    for (const TensorInfo& tensor : parts_[part].header.tensors) order.emplace_back(&tensor, part);
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first->name < b.first->name; });
  for (const auto& [tensor, part] : order) {
    if (!tensors_.empty() && tensors_.back().name == tensor->name) {
      fail_input("{}: tensor '{}' stands in two files", path.string(), one_line(tensor->name));
    }
    tensors_.push_back(*tensor);
    part_of_.push_back(part);
  }
}

SafetensorsReader::~SafetensorsReader() = default;
SafetensorsReader::SafetensorsReader(SafetensorsReader&&) noexcept = default;

void SafetensorsReader::open_index(const fs::path& path) {
  const std::string text = read_text_file(path, 32u << 20);
  const auto index = nlohmann::json::parse(text, nullptr, false);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object()) {
    fail_input("{}: is not an index of safetensors files (no weight_map)", path.string());
  }
  std::map<std::string, std::vector<std::string>> names_of_file;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string()) fail_input("{}: '{}' names no file", path.string(), one_line(name));
    names_of_file[file.get<std::string>()].push_back(name);
  }
  for (const auto& [file, names] : names_of_file) {
    if (file.empty() || fs::path(file).filename() != file || file == "..") {
      fail_input("{}: '{}' is not a file name beside the index", path.string(), one_line(file));
    }
    const Part& part = parts_.emplace_back(path.parent_path() / file);
    std::set<std::string_view> present;
    for (const TensorInfo& tensor : part.header.tensors) present.insert(tensor.name);
    for (const std::string& name : names) {
      if (!present.contains(name)) {
        fail_input("{}: tensor '{}' is not in {} as the index says", path.string(), one_line(name),
                   one_line(file));
      }
    }
  }
}

const TensorInfo* SafetensorsReader::find(std::string_view name) const {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorInfo& tensor, std::string_view n) { return tensor.name < n; });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

void SafetensorsReader::read(std::string_view name, std::uint64_t offset,
                             std::span<std::byte> bytes) const {
  const TensorInfo* tensor = find(name);
  if (!tensor) fail_input("there is no tensor '{}' in this checkpoint", one_line(name));
  if (offset > tensor->bytes || bytes.size() > tensor->bytes - offset) {
    fail_input("tensor '{}' has {} bytes; {} + {} are asked for", one_line(name), tensor->bytes,
               offset, bytes.size());
  }
  const Part& part = parts_[part_of_[static_cast<std::size_t>(tensor - tensors_.data())]];
  part.read(part.header.data_start + tensor->offset + offset, bytes);
}

bool SafetensorsReader::verify() const {
  std::vector<std::byte> block;
  for (const Part& part : parts_) {
    if (!part.verified) return false;
    for (std::size_t i = 0; i < part.verified->blocks(); ++i) {
      block.resize(part.verified->block_size(i));
      part.verified->read_block(i, block);
    }
  }
  return true;
}

}  // namespace memengine
