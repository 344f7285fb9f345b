// See checkpoint.h: reading a checkpoint back, every block against its checksum. What patches do to
// the tensors of a base is in checkpoint_patch.h, how rows spread over files make one tensor in
// checkpoint_spread.h.
#include <algorithm>
#include <cstring>
#include <deque>

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_patch.h"
#include "io/checkpoints/checkpoint_spread.h"
#include "io/checkpoints/checkpoint_state.h"
#include "io/checkpoints/load_file.h"
#include "io/files/parallel.h"
#include "io/text/one_line.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Turns every error about a checkpoint's files into one that says so; internal ones stay
// themselves.
template <typename Work>
void as_damage(Work&& work) {
  try {
    work();
  } catch (const DamagedCheckpoint&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    throw DamagedCheckpoint(error.what());
  }
}

}  // namespace

struct Checkpoint::Impl {
  struct Part {
    std::string name;
    VerifiedFile file;
    SafetensorsHeader header;
  };

  fs::path folder;
  bool verify = true;
  StateFile state;
  std::string checksum;
  std::vector<Part> parts;
  std::map<std::string, std::pair<std::size_t, std::size_t>, std::less<>> index;  // part, tensor
  std::vector<std::size_t> spread_parts;  // of spread files, by rank
  std::map<std::string, SpreadTensor, std::less<>> spread;
  std::unique_ptr<Checkpoint> base;
  // Rows of one file over a tensor of the base; of a spread increment one for each rank.
  struct Patch {
    RowPatch rows;
    std::size_t part;
    const TensorInfo* tensor;
  };
  std::map<std::string, std::vector<Patch>, std::less<>> patches;

  void open();
  void open_spread();
  void open_patches();
  // One of our own tensors.
  const TensorInfo* own(std::string_view tensor) const;
  const TensorInfo* in_part(std::size_t part, std::string_view tensor) const;
  void read_part(std::size_t part, const TensorInfo& tensor, std::uint64_t offset,
                 std::span<std::byte> bytes);
  void read_own(std::string_view tensor, std::uint64_t offset, std::span<std::byte> bytes);
  std::uint64_t begin_in_file(std::size_t part, const TensorInfo& tensor) const {
    return parts[part].header.data_start + tensor.offset;
  }
};

Checkpoint::Checkpoint(const fs::path& folder, bool verify) : impl_(std::make_unique<Impl>()) {
  impl_->folder = folder;
  impl_->verify = verify;
  as_damage([&] { impl_->open(); });
}

void Checkpoint::Impl::open() {
  const fs::path state_path = folder / "state.json";
  std::error_code error;
  if (!fs::exists(state_path, error)) {
    fail_input("{}: is not a checkpoint folder (no state.json)", folder.string());
  }
  const std::string text = read_text_file(state_path, max_state_bytes);
  state = read_state(state_path.string(), text);
  checksum = state_checksum(text);
  const std::string folder_name = folder.filename().string();
  if (folder_name.size() == 10 &&
      folder_name.find_first_not_of("0123456789") == std::string::npos &&
      folder_name != checkpoint_name(state.step)) {
    fail_input("{}: holds step {}, not the step of its name; rename it back", folder.string(),
               state.step);
  }
  for (auto& [name, sums] : state.files) {
    VerifiedFile file(folder / name, sums, verify);
    SafetensorsHeader header = read_safetensors_header(
        (folder / name).string(), file.size(),
        [&file](std::uint64_t offset, std::span<std::byte> bytes) { file.read(offset, bytes); });
    const std::size_t part = parts.size();
    const bool is_spread =
        std::find(state.spread.begin(), state.spread.end(), name) != state.spread.end();
    for (std::size_t i = 0; i < header.tensors.size() && !is_spread; ++i) {
      index.emplace(header.tensors[i].name, std::pair(part, i));
    }
    parts.push_back({name, std::move(file), std::move(header)});
  }
  for (const std::string& name : state.spread) {
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&name](const Part& part) { return part.name == name; });
    spread_parts.push_back(static_cast<std::size_t>(part - parts.begin()));
  }
  if (state.increment) {
    open_patches();
  } else if (!spread_parts.empty()) {
    open_spread();
  }
}

void Checkpoint::Impl::open_spread() {
  for (const TensorInfo& first : parts[spread_parts.front()].header.tensors) {
    std::vector<const TensorInfo*> tensors;
    for (const std::size_t part : spread_parts) {
      tensors.push_back(in_part(part, first.name));
      if (tensors.back() == nullptr) {
        fail_input("{}: {} has no part of tensor '{}'", folder.string(), parts[part].name,
                   one_line(first.name));
      }
    }
    spread.emplace(first.name, SpreadTensor(folder.string(), tensors));
  }
}

void Checkpoint::Impl::open_patches() {
  const CheckpointBase& wanted = state.increment->base;
  const fs::path path = (folder / "..").lexically_normal() / checkpoint_name(wanted.step);
  try {
    base = std::make_unique<Checkpoint>(path, verify);
  } catch (const Error& error) {
    fail_input("{}: needs the full checkpoint of step {}: {}", folder.string(), wanted.step,
               error.what());
  }
  if (base->checksum() != wanted.checksum || base->impl_->base) {
    fail_input("{}: the checkpoint of step {} is not the one that it adds to", folder.string(),
               wanted.step);
  }
  std::map<std::pair<std::size_t, std::string>, std::shared_ptr<const std::vector<std::int32_t>>>
      lists;
  const auto open_patch = [&](std::size_t file, const std::string& tensor,
                              const std::string& rows_name) {
    const TensorInfo* whole = base->find(tensor);
    const TensorInfo* part = in_part(file, tensor);
    const TensorInfo* rows = in_part(file, rows_name);
    if (whole == nullptr || part == nullptr || rows == nullptr) {
      fail_input("{}: has no rows for tensor '{}'", folder.string(), one_line(tensor));
    }
    auto& list = lists[{file, rows_name}];
    if (list == nullptr) {
      if (rows->dtype != FileDtype::i32 || rows->shape.size() != 1) {
        fail_input("{}: tensor '{}' is no list of rows", folder.string(), one_line(rows_name));
      }
      auto numbers = std::make_shared<std::vector<std::int32_t>>(rows->bytes / 4);
      read_part(file, *rows, 0, std::as_writable_bytes(std::span(*numbers)));
      list = std::move(numbers);
    }
    patches[tensor].push_back({RowPatch(folder.string(), *whole, *part, list), file, part});
  };
  for (const auto& [tensor, rows_name] : state.increment->patches) {
    for (const std::size_t file : spread_parts) open_patch(file, tensor, rows_name);
    if (!spread_parts.empty()) continue;
    const auto found = index.find(tensor);
    if (found == index.end()) {
      fail_input("{}: has no rows for tensor '{}'", folder.string(), one_line(tensor));
    }
    open_patch(found->second.first, tensor, rows_name);
  }
}

const TensorInfo* Checkpoint::Impl::own(std::string_view tensor) const {
  if (const auto found = spread.find(tensor); found != spread.end()) return &found->second.whole();
  const auto found = index.find(tensor);
  if (found == index.end()) return nullptr;
  return &parts[found->second.first].header.tensors[found->second.second];
}

const TensorInfo* Checkpoint::Impl::in_part(std::size_t part, std::string_view tensor) const {
  for (const TensorInfo& info : parts[part].header.tensors) {
    if (info.name == tensor) return &info;
  }
  return nullptr;
}

void Checkpoint::Impl::read_part(std::size_t part, const TensorInfo& tensor, std::uint64_t offset,
                                 std::span<std::byte> bytes) {
  parts[part].file.read(begin_in_file(part, tensor) + offset, bytes);
}

void Checkpoint::Impl::read_own(std::string_view tensor, std::uint64_t offset,
                                std::span<std::byte> bytes) {
  if (const auto found = spread.find(tensor); found != spread.end()) {
    std::vector<const TensorInfo*> tensors;
    for (const std::size_t part : spread_parts) tensors.push_back(in_part(part, tensor));
    return found->second.read(offset, bytes,
                              [&](std::size_t p, std::uint64_t at, std::span<std::byte> piece) {
                                read_part(spread_parts[p], *tensors[p], at, piece);
                              });
  }
  read_part(index.find(tensor)->second.first, *own(tensor), offset, bytes);
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

std::int64_t Checkpoint::step() const {
  return impl_->state.step;
}
const fs::path& Checkpoint::folder() const {
  return impl_->folder;
}
const CheckpointState& Checkpoint::state() const {
  return impl_->state.sections;
}
const std::string& Checkpoint::owner() const {
  return impl_->state.owner;
}
const std::string& Checkpoint::checksum() const {
  return impl_->checksum;
}
CheckpointBase Checkpoint::base() const {
  return impl_->base ? impl_->state.increment->base : CheckpointBase{step(), checksum()};
}

const StateSection& Checkpoint::section(const std::string& name) const {
  const auto found = impl_->state.sections.find(name);
  if (found == impl_->state.sections.end()) {
    fail_input("{}: its state has no section '{}'; it was written by another version",
               impl_->folder.string(), name);
  }
  return found->second;
}

const StateValue* Checkpoint::value(const std::string& section_name, const std::string& key) const {
  const StateSection& values = section(section_name);
  const auto found = values.find(key);
  return found == values.end() ? nullptr : &found->second;
}

void Checkpoint::fail_state(const std::string& section_name, const std::string& key) const {
  fail_input("{}: its state has no {}.{} of the expected type; it was written by another version",
             impl_->folder.string(), section_name, key);
}

const TensorInfo* Checkpoint::find(std::string_view tensor) const {
  // Of a base only what is patched counts: everything else is our own.
  if (impl_->patches.contains(tensor)) return impl_->base->find(tensor);
  return impl_->own(tensor);
}

void Checkpoint::read(std::string_view tensor, std::uint64_t offset,
                      std::span<std::byte> bytes) const {
  const TensorInfo* info = find(tensor);
  if (!info) {
    fail_input("{}: holds no tensor '{}'; it was saved from another configuration",
               impl_->folder.string(), one_line(tensor));
  }
  if (offset > info->bytes || bytes.size() > info->bytes - offset) {
    fail_input(
        "{}: tensor '{}' has {} bytes where {} + {} are asked for; it was saved from another "
        "configuration",
        impl_->folder.string(), one_line(tensor), info->bytes, offset, bytes.size());
  }
  const auto patch = impl_->patches.find(tensor);
  if (patch == impl_->patches.end()) return impl_->read_own(tensor, offset, bytes);
  impl_->base->read(tensor, offset, bytes);
  for (const Impl::Patch& own : patch->second) {
    own.rows.apply(offset, bytes, [&](std::uint64_t at, std::span<std::byte> piece) {
      impl_->read_part(own.part, *own.tensor, at, piece);
    });
  }
}

void Checkpoint::load(std::span<const TensorSink> sinks, std::size_t threads) const {
  using Write = std::function<void(std::uint64_t, std::span<const std::byte>)>;
  // Pieces of a patch, or of a spread file, go to the places of their rows.
  std::deque<Write> moving;
  // Own tensors, the base's tensors, then the patches over them; by part.
  std::vector<std::vector<LoadTarget>> own(impl_->parts.size()), patches(impl_->parts.size());
  std::vector<TensorSink> of_base;
  const auto target = [this](std::size_t part, const TensorInfo& tensor, const Write& write) {
    const std::uint64_t begin = impl_->begin_in_file(part, tensor);
    return LoadTarget{begin, begin + tensor.bytes, &write};
  };
  for (const TensorSink& sink : sinks) {
    if (!find(sink.name)) read(sink.name, 0, {});  // says that it is missing
    if (!sink.concurrent) continue;
    if (const auto patch = impl_->patches.find(sink.name); patch != impl_->patches.end()) {
      of_base.push_back(sink);
      for (const Impl::Patch& rows : patch->second) {
        moving.push_back([&sink, &rows](std::uint64_t offset, std::span<const std::byte> bytes) {
          rows.rows.scatter(offset, bytes, sink.write);
        });
        patches[rows.part].push_back(target(rows.part, *rows.tensor, moving.back()));
      }
      continue;
    }
    if (const auto found = impl_->spread.find(sink.name); found != impl_->spread.end()) {
      for (std::size_t p = 0; p < impl_->spread_parts.size(); ++p) {
        const SpreadTensor& tensor = found->second;
        if (!tensor.concerns(static_cast<std::int64_t>(p), sink.rank, sink.ranks)) continue;
        moving.push_back(
            [&sink, &tensor, p](std::uint64_t offset, std::span<const std::byte> bytes) {
              tensor.scatter(static_cast<std::int64_t>(p), offset, bytes, sink.write);
            });
        const std::size_t part = impl_->spread_parts[p];
        own[part].push_back(target(part, *impl_->in_part(part, sink.name), moving.back()));
      }
      continue;
    }
    const auto [part, tensor] = impl_->index.find(sink.name)->second;
    own[part].push_back(target(part, impl_->parts[part].header.tensors[tensor], sink.write));
  }
  if (!of_base.empty()) impl_->base->load(of_base, threads);
  for (const auto& list : {&own, &patches}) {
    for (std::size_t part = 0; part < list->size(); ++part) {
      load_file(impl_->parts[part].file, std::move((*list)[part]), threads);
    }
  }
  constexpr std::uint64_t chunk = 16 << 20;
  std::vector<std::byte> buffer;
  for (const TensorSink& sink : sinks) {
    if (sink.concurrent) continue;
    const std::uint64_t bytes = find(sink.name)->bytes;
    for (std::uint64_t offset = 0; offset < bytes; offset += chunk) {
      buffer.resize(std::min(chunk, bytes - offset));
      read(sink.name, offset, buffer);
      sink.write(offset, buffer);
    }
  }
}

CheckpointSummary Checkpoint::summary() const {
  CheckpointSummary summary;
  summary.step = step();
  for (const Impl::Part& part : impl_->parts) {
    summary.files.push_back({part.name, part.file.size(), part.header.tensors});
    summary.bytes += part.file.size();
  }
  if (impl_->base) {
    summary.base_step = impl_->base->step();
    summary.base_bytes = impl_->base->summary().bytes;
  }
  return summary;
}

void Checkpoint::verify() const {
  for (const Impl::Part& part : impl_->parts) {
    parallel_for(part.file.blocks(), file_threads(), [&] {
      return [&, block = std::vector<std::byte>()](std::size_t i) mutable {
        block.resize(part.file.block_size(i));
        part.file.read_block(i, block);
      };
    });
  }
  if (impl_->base) impl_->base->verify();
}

}  // namespace memengine
