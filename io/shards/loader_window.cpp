// A window is read once, widened to int32, and copied twice: shifted by one for the targets.
#include "io/shards/loader_window.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/runtime/error.h"

namespace memengine {

OpenShards::OpenShards(const std::vector<std::filesystem::path>& paths,
                       const std::string& tokenizer_hash, std::int64_t vocab_size)
    : verified_(paths.size()) {
  for (const auto& path : paths) {
    shards_.emplace_back(path);
    const auto& info = shards_.back().info();
    if (!info) continue;
    if (!tokenizer_hash.empty() && info->tokenizer_hash != tokenizer_hash) {
      fail_input(
          "shard {} was made by another tokenizer ({} {}, not {}): set data.tokenizer to that one "
          "or prepare the data again",
          path.string(), info->tokenizer, info->tokenizer_hash, tokenizer_hash);
    }
    if (vocab_size > 0 && info->vocab_size > vocab_size) {
      fail_input("shard {} has a vocabulary of {} but the model's is {}: set model.vocab_size",
                 path.string(), info->vocab_size, vocab_size);
    }
  }
}

const Shard& OpenShards::verified(std::size_t i) {
  if (!verified_[i]) {
    shards_[i].verify_checksum();
    verified_[i] = true;
  }
  return shards_[i];
}

std::int64_t windows_in(const Shard& shard, std::int64_t seq_len) {
  return (shard.tokens() - 1) / seq_len;
}

BatchBuffer::BatchBuffer(std::int64_t batch_size, std::int64_t seq_len,
                         const HostAllocator& allocator)
    : batch_size_(batch_size), seq_len_(seq_len), allocator_(allocator) {
  if (!allocator_.allocate || !allocator_.release) {
    allocator_ = {[](std::size_t bytes) { return std::malloc(bytes); },
                  [](void* memory) { std::free(memory); }};
  }
  sequence_.resize(static_cast<std::size_t>(seq_len) + 1);
  const auto bytes = static_cast<std::size_t>(3 * batch_size * seq_len) * sizeof(std::int32_t);
  memory_ = static_cast<std::int32_t*>(allocator_.allocate(bytes));
  if (!memory_) fail_input("no memory for a batch buffer of {} bytes", bytes);
}

BatchBuffer::BatchBuffer(BatchBuffer&& other) noexcept
    : batch_size_(other.batch_size_),
      seq_len_(other.seq_len_),
      allocator_(other.allocator_),
      memory_(std::exchange(other.memory_, nullptr)),
      sequence_(std::move(other.sequence_)) {}

BatchBuffer::~BatchBuffer() {
  if (memory_) allocator_.release(memory_);
}

void BatchBuffer::fill(std::int64_t row, const Shard& shard, std::int64_t window,
                       std::int64_t vocab_size, std::int32_t document_start) {
  const std::int64_t first = window * seq_len_;
  const std::uint32_t largest = shard.read(first, sequence_);
  const auto bound = static_cast<std::uint32_t>(vocab_size > 0 ? vocab_size : INT32_MAX);
  if (largest >= bound) {
    const auto bad = std::find_if(sequence_.begin(), sequence_.end(), [bound](std::int32_t id) {
      return static_cast<std::uint32_t>(id) >= bound;
    });
    fail_input("shard {}: token {} at {} is outside the vocabulary of {}", shard.path().string(),
               static_cast<std::uint32_t>(*bad), first + (bad - sequence_.begin()), bound);
  }
  const std::int64_t all = batch_size_ * seq_len_;
  std::int32_t* tokens = memory_ + row * seq_len_;
  const std::size_t bytes = static_cast<std::size_t>(seq_len_) * sizeof(std::int32_t);
  std::memcpy(tokens, sequence_.data(), bytes);
  std::memcpy(tokens + all, sequence_.data() + 1, bytes);
  std::int32_t* doc_start = tokens + 2 * all;
  std::int32_t start = 0;
  for (std::int64_t t = 0; t < seq_len_; ++t) {
    if (tokens[t] == document_start) start = static_cast<std::int32_t>(t);
    doc_start[t] = start;
  }
}

Batch BatchBuffer::batch(std::int64_t rows) const {
  const std::int64_t all = batch_size_ * seq_len_;
  return {memory_, memory_ + all, memory_ + 2 * all, rows, seq_len_, 0};
}

}  // namespace memengine
