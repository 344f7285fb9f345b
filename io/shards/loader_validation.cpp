// ValidationReader: the windows of all validation shards in order, B at a time; batch k belongs to
// rank k mod world.
#include <algorithm>

#include "io/shards/loader.h"
#include "io/shards/loader_window.h"
#include "kernels/runtime/error.h"

namespace memengine {

struct ValidationReader::Impl {
  Options options;
  OpenShards shards;
  std::vector<std::int64_t> first;  // the first sequence of each shard, and one more: their number
  BatchBuffer buffer;
  std::int64_t sequences = 0;  // that are read: all, or as many as were asked for
  std::int64_t batch = 0;      // the next one of this rank

  explicit Impl(const Options& from)
      : options(from), buffer(from.batch_size, from.seq_len, from.allocator), batch(from.rank) {}

  // Of all sequences, the i-th of those that are read: floor(i * all / read).
  std::int64_t place(std::int64_t i) const {
    const std::int64_t all = first.back();
    return i * (all / sequences) + i * (all % sequences) / sequences;
  }
};

ValidationReader::ValidationReader(const Options& options) {
  if (options.batch_size <= 0 || options.seq_len <= 0) {
    fail_input("validation needs data.batch_size and data.seq_len of at least 1");
  }
  if (options.world < 1 || options.rank < 0 || options.rank >= options.world) {
    fail_internal("rank {} in a world of {}", options.rank, options.world);
  }
  impl_ = std::make_unique<Impl>(options);
  std::vector<std::filesystem::path> paths;
  for (const auto& path : options.paths) {
    const auto found = find_shards(path, "val");
    paths.insert(paths.end(), found.begin(), found.end());
  }
  impl_->shards = OpenShards(paths, options.tokenizer_hash, options.vocab_size);
  std::int64_t total = 0;
  for (const Shard& shard : impl_->shards.all()) {
    impl_->first.push_back(total);
    total += windows_in(shard, options.seq_len);
  }
  impl_->first.push_back(total);
  if (total == 0) {
    fail_input("the validation shards have no {} consecutive tokens: lower data.seq_len",
               options.seq_len + 1);
  }
  impl_->sequences = options.most > 0 ? std::min(options.most, total) : total;
}

ValidationReader::~ValidationReader() = default;

bool ValidationReader::next(Batch& batch) {
  const Options& options = impl_->options;
  const std::int64_t begin = impl_->batch * options.batch_size;
  const std::int64_t rows = std::min(options.batch_size, sequences() - begin);
  if (rows <= 0) return false;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t sequence = impl_->place(begin + row);
    const auto after = std::upper_bound(impl_->first.begin(), impl_->first.end(), sequence);
    const auto shard = static_cast<std::size_t>(after - impl_->first.begin()) - 1;
    impl_->buffer.fill(row, impl_->shards.verified(shard), sequence - impl_->first[shard],
                       options.vocab_size, options.document_start);
  }
  impl_->batch += options.world;
  batch = impl_->buffer.batch(rows);
  return true;
}

void ValidationReader::rewind() {
  impl_->batch = impl_->options.rank;
}

std::int64_t ValidationReader::batches() const {
  return (sequences() + impl_->options.batch_size - 1) / impl_->options.batch_size;
}

std::int64_t ValidationReader::sequences() const {
  return impl_->sequences;
}

}  // namespace memengine
