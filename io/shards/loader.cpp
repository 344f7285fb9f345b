// The prefetch thread walks the stream of sequences, fills the next free slot of a ring and notes
// the position after it; next() hands out slots in order. A slot is free again once `keep` later
// batches were handed out, so a copy to the device may still read it meanwhile.
#include "io/shards/loader.h"

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

#include "io/checkpoints/checkpoint_state.h"
#include "io/shards/loader_order.h"
#include "io/shards/loader_window.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::uint64_t mixer_salt = 0x6D69786572ull;

void check(const LoaderOptions& options) {
  if (options.batch_size <= 0) fail_input("data.batch_size must be at least 1");
  if (options.seq_len <= 0) fail_input("data.seq_len must be at least 1");
  if (options.sources.empty()) fail_input("data.sources names no source");
  if (options.world < 1 || options.rank < 0 || options.rank >= options.world) {
    fail_internal("rank {} in a world of {}", options.rank, options.world);
  }
  if (options.prefetch < 1 || options.keep < 1) {
    fail_input("data.prefetch_size must be at least 1");
  }
  double sum = 0;
  std::set<std::string> names;
  for (const auto& source : options.sources) {
    if (!std::isfinite(source.weight) || source.weight < 0) {
      fail_input("data.sources.{}: the weight must be a number that is not negative", source.name);
    }
    if (!names.insert(source.name).second) fail_input("data.sources.{} appears twice", source.name);
    sum += source.weight;
  }
  if (!(sum > 0)) fail_input("data.sources: all weights are zero");
}

}  // namespace

struct TokenLoader::Impl {
  struct Source {
    OpenShards shards;
    WindowOrder order;
  };
  struct Slot {
    BatchBuffer buffer;
    LoaderPosition position;  // after this batch
    std::exception_ptr error;
  };

  LoaderOptions options;
  std::vector<Source> sources;
  std::unique_ptr<SourceMixer> mixer;
  std::vector<Slot> ring;
  LoaderPosition returned;  // what position() says

  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t filled = 0, taken = 0;  // batches so far; guarded by the mutex
  bool stopping = false;
  std::thread thread;  // none when the caller fills

  void open();
  void restore(const LoaderPosition& from);
  void prefetch(LoaderPosition position);
  // Fills the slot with the batch after `position`, and moves it; false when that failed, and the
  // slot has the error.
  bool fill_slot(Slot& slot, LoaderPosition& position);
  void fill(Slot& slot, LoaderPosition& position);
};

void TokenLoader::Impl::open() {
  std::vector<double> weights;
  returned.seed = options.seed;
  returned.seq_len = options.seq_len;
  for (std::size_t i = 0; i < options.sources.size(); ++i) {
    const LoaderSource& named = options.sources[i];
    OpenShards shards(find_shards(named.path, "train"), options.tokenizer_hash, options.vocab_size);
    std::vector<std::int64_t> windows;
    for (const Shard& shard : shards.all()) windows.push_back(windows_in(shard, options.seq_len));
    WindowOrder order(std::move(windows), hash_counter(options.seed, i), options.shuffle);
    if (order.windows() == 0) {
      fail_input("source {} ({}) has no {} consecutive tokens in any shard: lower data.seq_len",
                 named.name, named.path.string(), options.seq_len + 1);
    }
    weights.push_back(named.weight);
    std::string fingerprints;
    for (const Shard& shard : shards.all()) fingerprints += shard.fingerprint();
    returned.sources.push_back(
        {named.name, named.weight, order.windows(), 0, state_checksum(fingerprints)});
    sources.push_back({std::move(shards), std::move(order)});
  }
  mixer = std::make_unique<SourceMixer>(weights, hash_counter(options.seed, mixer_salt));
}

void TokenLoader::Impl::restore(const LoaderPosition& from) {
  const auto refuse = [](const std::string& what) {
    fail_input(
        "the data position of the checkpoint does not fit: {}; start a new run or put it "
        "back",
        what);
  };
  if (from.seed != returned.seed) refuse(fmt::format("its seed was {}", from.seed));
  if (from.seq_len != returned.seq_len)
    refuse(fmt::format("its data.seq_len was {}", from.seq_len));
  if (from.sources.size() != returned.sources.size()) {
    refuse(fmt::format("it had {} data.sources", from.sources.size()));
  }
  std::int64_t drawn = 0;
  for (std::size_t i = 0; i < from.sources.size(); ++i) {
    const auto &was = from.sources[i], &is = returned.sources[i];
    if (was.name != is.name) refuse(fmt::format("source {} was {}", i, was.name));
    if (was.weight != is.weight) refuse(fmt::format("{} had weight {}", was.name, was.weight));
    if (was.windows != is.windows) {
      refuse(fmt::format("{} had {} sequences, now {}", was.name, was.windows, is.windows));
    }
    if (was.drawn < 0) refuse("a negative count");
    if (!was.shards.empty() && was.shards != is.shards && !options.accept_other_shards) {
      fail_input(
          "the shards of source {} ({}) are not those that the checkpoint's run was reading; put "
          "them back, start a new run, or say checkpoint.force_resume=true",
          is.name, options.sources[i].path.string());
    }
    drawn += was.drawn;
  }
  if (from.sequences != drawn) refuse("its counts do not add up");
  returned.sequences = from.sequences;
  for (std::size_t i = 0; i < from.sources.size(); ++i) {
    returned.sources[i].drawn = from.sources[i].drawn;
  }
}

void TokenLoader::Impl::fill(Slot& slot, LoaderPosition& position) {
  const std::int64_t begin = options.rank * options.batch_size;
  const std::int64_t all = options.world * options.batch_size;
  for (std::int64_t i = 0; i < all; ++i) {
    const std::size_t pick = mixer->pick(static_cast<std::uint64_t>(position.sequences++));
    const std::int64_t drawn = position.sources[pick].drawn++;
    if (i < begin || i >= begin + options.batch_size) continue;  // another rank's sequence
    Source& source = sources[pick];
    const auto place = source.order.place(drawn);
    const Shard& shard = source.shards.verified(static_cast<std::size_t>(place.shard));
    slot.buffer.fill(i - begin, shard, place.window, options.vocab_size, options.document_start);
  }
}

bool TokenLoader::Impl::fill_slot(Slot& slot, LoaderPosition& position) {
  slot.error = nullptr;
  try {
    fill(slot, position);
  } catch (...) {
    slot.error = std::current_exception();
  }
  slot.position = position;
  return slot.error == nullptr;
}

void TokenLoader::Impl::prefetch(LoaderPosition position) {
  const std::uint64_t kept = static_cast<std::uint64_t>(options.keep);
  for (;;) {
    Slot* slot = nullptr;
    {
      std::unique_lock lock(mutex);
      // The batches taken last, `keep` of them, stay; all others may be overwritten.
      changed.wait(lock,
                   [&] { return stopping || filled + kept < std::max(taken, kept) + ring.size(); });
      if (stopping) return;
      slot = &ring[filled % ring.size()];
    }
    const bool filled_whole = fill_slot(*slot, position);
    {
      const std::lock_guard lock(mutex);
      ++filled;
    }
    changed.notify_all();
    if (!filled_whole) return;
  }
}

TokenLoader::TokenLoader(const LoaderOptions& options, const LoaderPosition* from)
    : impl_(std::make_unique<Impl>()) {
  check(options);
  impl_->options = options;
  impl_->open();
  if (from) impl_->restore(*from);
  const int slots = options.keep + (options.async ? options.prefetch : 1);
  for (int i = 0; i < slots; ++i) {
    impl_->ring.push_back(
        {BatchBuffer(options.batch_size, options.seq_len, options.allocator), {}, {}});
  }
  if (!options.async) return;
  try {
    impl_->thread = std::thread([this, at = impl_->returned] { impl_->prefetch(at); });
  } catch (const std::system_error&) {  // no more threads to be had: the caller fills
    impl_->options.async = false;
  }
}

TokenLoader::~TokenLoader() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
}

Batch TokenLoader::next() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(impl_->mutex);
  Impl::Slot& slot = impl_->ring[impl_->taken % impl_->ring.size()];
  if (impl_->options.async) {
    impl_->changed.wait(lock, [this] { return impl_->filled > impl_->taken; });
  } else if (LoaderPosition position = impl_->returned; !impl_->fill_slot(slot, position)) {
    std::rethrow_exception(slot.error);
  }
  if (slot.error) std::rethrow_exception(slot.error);  // and again at every later call
  ++impl_->taken;
  impl_->returned = slot.position;
  lock.unlock();
  impl_->changed.notify_all();
  Batch batch = slot.buffer.batch(impl_->options.batch_size);
  batch.wait_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return batch;
}

LoaderPosition TokenLoader::position() const {
  return impl_->returned;
}

std::int64_t TokenLoader::windows(std::size_t source) const {
  return impl_->sources.at(source).order.windows();
}

std::int64_t TokenLoader::total_tokens() const {
  std::int64_t tokens = 0;
  for (const auto& source : impl_->sources) {
    for (const Shard& shard : source.shards.all()) tokens += shard.tokens();
  }
  return tokens;
}

}  // namespace memengine
