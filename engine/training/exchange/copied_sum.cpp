// Parts of pieces of a block: where they begin, and who copies what when.
#include "engine/training/exchange/copied_sum.h"

#include <algorithm>
#include <utility>

#include "kernels/pointwise/rank_sum.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

// Parts begin at whole lines of memory: 64 numbers.
std::int64_t part_of(std::int64_t count, std::int64_t ranks) {
  constexpr std::int64_t line = 64;
  return ((count + ranks - 1) / ranks + line - 1) / line * line;
}

enum Place : std::uint8_t { whole, summed, read };

}  // namespace

std::int64_t CopiedSum::planned_bytes(std::int64_t bytes, std::int64_t ranks,
                                      std::int64_t piece_bytes) {
  if (ranks == 1 || bytes == 0) return 0;
  const std::int64_t rounding = element_bytes(DType::f64) * part_of(1, 1);
  return (ranks - 1) * (std::min(bytes, piece_bytes) / ranks + 2 * rounding) + 256;
}

std::unique_ptr<CopiedSum> CopiedSum::make(Communicator& ranks, Device device, Tensor block,
                                           std::int64_t piece_bytes) {
  std::unique_ptr<Rendezvous> rendezvous = ranks.rendezvous();
  if (rendezvous == nullptr) return nullptr;
  return std::unique_ptr<CopiedSum>(
      new CopiedSum(ranks, std::move(rendezvous), device, block, piece_bytes));
}

CopiedSum::CopiedSum(Communicator& ranks, std::unique_ptr<Rendezvous> rendezvous, Device device,
                     Tensor block, std::int64_t piece_bytes)
    : ranks_(ranks),
      rendezvous_(std::move(rendezvous)),
      block_(block),
      piece_(std::max<std::int64_t>(1, piece_bytes / element_bytes(block.dtype()))),
      blocks_(ranks.peers(block.data())) {
  const std::int64_t others = ranks.size() - 1;
  const std::int64_t part = part_of(std::min(piece_, block.size()), ranks.size());
  memory_ = Arena(device, others * part * element_bytes(block.dtype()) + 256);
  others_ = memory_.allocate("scratch", block.dtype(), {others, part});
}

void CopiedSum::sum(const Context& context, std::int64_t first, std::int64_t count) {
  const std::int64_t pieces = (count + piece_ - 1) / piece_;
  // Of about one length, so that the last is not a small one with the waits of a large one.
  const std::int64_t each = pieces == 0 ? 0 : std::min(piece_, part_of(count, pieces));
  for (std::int64_t done = 0; done < count; done += each) {
    const std::int64_t piece = std::min(each, count - done);
    const double bytes = 2.0 * (ranks_.size() - 1) / ranks_.size() * static_cast<double>(piece) *
                         static_cast<double>(element_bytes(block_.dtype()));
    ranks_.read_peers(context, bytes, [&] { sum_piece(context, first + done, piece); });
  }
}

void CopiedSum::sum_piece(const Context& context, std::int64_t first, std::int64_t count) {
  const int rank = ranks_.rank();
  const int size = ranks_.size();
  const std::int64_t width = element_bytes(block_.dtype());
  const std::int64_t part = part_of(count, size);
  const auto begin = [&](int r) { return first + std::min(count, r * part); };
  const auto length = [&](int r) { return begin(r + 1) - begin(r); };
  const auto theirs = [&](int r, std::int64_t at) {
    return static_cast<std::byte*>(blocks_[static_cast<std::size_t>(r)]) + at * width;
  };
  // Each begins with another rank, so that no link serves all at once.
  const auto each_other = [&](auto&& body) {
    for (int i = 1; i < size; ++i) body((rank + i) % size);
  };
  const std::int64_t mine = length(rank);

  rendezvous_->meet(context, Place::whole);
  if (mine > 0) {
    each_other([&](int r) {
      const Tensor row = others_.rows(r < rank ? r : r - 1, 1);
      copy_bytes(context, row.data(), theirs(r, begin(rank)), mine * width);
    });
    add_in_rank_order(context, block_.rows(begin(rank), mine), others_, rank);
  }
  rendezvous_->meet(context, Place::summed);
  each_other([&](int r) {
    if (length(r) == 0) return;
    copy_bytes(context, block_.rows(begin(r), length(r)).data(), theirs(r, begin(r)),
               length(r) * width);
  });
}

void CopiedSum::end(const Context& context) {
  rendezvous_->meet(context, Place::read);
}

}  // namespace memengine
