// See checkpoint.h: reading a checkpoint back, every block against its checksum.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "engine/runtime/error.h"
#include "io/checkpoint.h"
#include "io/checkpoint_state.h"
#include "io/one_line.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_state_bytes = 256u << 20;

// A file that hands out only bytes whose block matches its checksum. A block that a read covers
// wholly goes straight to its destination; of the others the last one is kept, so that reading on
// does not fetch it again.
class VerifiedFile {
 public:
  VerifiedFile(const fs::path& path, BlockChecksums sums) : file_(path), sums_(std::move(sums)) {
    if (file_.size() != sums_.bytes) {
      fail_input("{}: has {} bytes where state.json says {}; it is damaged", path.string(),
                 file_.size(), sums_.bytes);
    }
  }

  std::uint64_t size() const { return sums_.bytes; }
  std::size_t blocks() const { return sums_.blocks.size(); }

  std::size_t block_size(std::size_t block) const {
    return std::min(sums_.block_bytes, sums_.bytes - block * sums_.block_bytes);
  }

  void read_block(std::size_t block, std::span<std::byte> bytes) const {
    file_.read(block * sums_.block_bytes, bytes);
    if (block_checksum(bytes) != sums_.blocks[block]) {
      fail_input("{}: bytes {} to {} do not match their checksum; the checkpoint is damaged",
                 file_.path().string(), block * sums_.block_bytes,
                 block * sums_.block_bytes + bytes.size() - 1);
    }
  }

  void read(std::uint64_t offset, std::span<std::byte> bytes) {
    if (offset > size() || bytes.size() > size() - offset) {
      fail_input("{}: ends before byte {} + {}", file_.path().string(), offset, bytes.size());
    }
    while (!bytes.empty()) {
      const std::size_t block = offset / sums_.block_bytes;
      const std::size_t start = offset % sums_.block_bytes;
      const std::size_t part = std::min(bytes.size(), block_size(block) - start);
      if (part == block_size(block)) {
        read_block(block, bytes.first(part));
      } else {
        if (kept_block_ != block) {
          kept_block_ = SIZE_MAX;
          kept_.resize(block_size(block));
          read_block(block, kept_);
          kept_block_ = block;
        }
        std::memcpy(bytes.data(), kept_.data() + start, part);
      }
      bytes = bytes.subspan(part);
      offset += part;
    }
  }

 private:
  InputFile file_;
  BlockChecksums sums_;
  std::vector<std::byte> kept_;
  std::size_t kept_block_ = SIZE_MAX;
};

}  // namespace

struct Checkpoint::Impl {
  struct Part {
    std::string name;
    VerifiedFile file;
    SafetensorsHeader header;
  };

  fs::path folder;
  StateFile state;
  std::vector<Part> parts;
  std::map<std::string, std::pair<std::size_t, std::size_t>, std::less<>> index;  // part, tensor
};

Checkpoint::Checkpoint(const fs::path& folder) : impl_(std::make_unique<Impl>()) {
  impl_->folder = folder;
  const fs::path state_path = folder / "state.json";
  std::error_code error;
  if (!fs::exists(state_path, error)) {
    fail_input("{}: is not a checkpoint folder (no state.json)", folder.string());
  }
  impl_->state = read_state(state_path.string(), read_text_file(state_path, max_state_bytes));
  const std::string folder_name = folder.filename().string();
  if (folder_name.size() == 10 &&
      folder_name.find_first_not_of("0123456789") == std::string::npos &&
      folder_name != checkpoint_name(step())) {
    fail_input("{}: holds step {}, not the step of its name; rename it back", folder.string(),
               step());
  }
  for (auto& [name, sums] : impl_->state.files) {
    VerifiedFile file(folder / name, sums);
    SafetensorsHeader header = read_safetensors_header(
        (folder / name).string(), file.size(),
        [&file](std::uint64_t offset, std::span<std::byte> bytes) { file.read(offset, bytes); });
    const std::size_t part = impl_->parts.size();
    for (std::size_t i = 0; i < header.tensors.size(); ++i) {
      impl_->index.emplace(header.tensors[i].name, std::pair(part, i));
    }
    impl_->parts.push_back({name, std::move(file), std::move(header)});
  }
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
  const auto found = impl_->index.find(tensor);
  if (found == impl_->index.end()) return nullptr;
  return &impl_->parts[found->second.first].header.tensors[found->second.second];
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
  Impl::Part& part = impl_->parts[impl_->index.find(tensor)->second.first];
  part.file.read(part.header.data_start + info->offset + offset, bytes);
}

CheckpointSummary Checkpoint::summary() const {
  CheckpointSummary summary;
  summary.step = step();
  for (const Impl::Part& part : impl_->parts) {
    summary.files.push_back({part.name, part.file.size(), part.header.tensors});
    summary.bytes += part.file.size();
  }
  return summary;
}

void Checkpoint::verify() const {
  const std::size_t threads = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 8);
  for (const Impl::Part& part : impl_->parts) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
      try {
        std::vector<std::byte> block;
        for (std::size_t i; (i = next.fetch_add(1)) < part.file.blocks();) {
          block.resize(part.file.block_size(i));
          part.file.read_block(i, block);
        }
      } catch (...) {
        next = part.file.blocks();
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    };
    std::vector<std::thread> pool;
    for (std::size_t i = 1; i < std::min(threads, part.file.blocks()); ++i) pool.emplace_back(work);
    work();
    for (std::thread& thread : pool) thread.join();
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace memengine
