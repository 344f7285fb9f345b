// Counts, then row numbers, then rows.
#include "model/memory/row_trade.h"

#include <algorithm>
#include <numeric>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

RowTrade::RowTrade(const RowOwners& owners, RankPlace place, std::int64_t picks, Arena& device)
    : owners_(owners), place_(place) {
  counts_ = device.allocate("memory layers", DType::i32, {2, owners.ranks});
  requests_ = device.allocate("memory layers", DType::i32, {capacity(owners, picks)});
  request_count_ = device.allocate("memory layers", DType::i32, {1});
  listed_of_.resize(static_cast<std::size_t>(owners.ranks));
  requested_by_ = listed_of_;
}

std::int64_t RowTrade::capacity(const RowOwners& owners, std::int64_t picks) {
  return owners.ranks * std::min(picks, owners.part());
}

void RowTrade::open(const Context& context, const UniqueRows& list) {
  const Tensor listed = counts_.rows(0, 1);
  const Tensor requested = counts_.rows(1, 1);
  count_by_owner(context, listed.reshape({owners_.ranks}), list, owners_);
  const std::vector<std::int64_t> one(static_cast<std::size_t>(owners_.ranks), 1);
  send(context, "row counts", requested.data(), one, listed.data(), one, element_bytes(DType::i32));
  // To memory that is not page-locked, so the host has waited when the copy returns.
  std::vector<std::int32_t> counts(static_cast<std::size_t>(counts_.size()));
  copy_bytes(context, counts.data(), counts_.data(), counts_.bytes());
  std::copy_n(counts.begin(), owners_.ranks, listed_of_.begin());
  std::copy_n(counts.begin() + owners_.ranks, owners_.ranks, requested_by_.begin());
  listed_ = std::accumulate(listed_of_.begin(), listed_of_.end(), std::int64_t{0});
  answered_ = std::accumulate(requested_by_.begin(), requested_by_.end(), std::int64_t{0});

  send(context, "row numbers", requests_.data(), requested_by_, list.rows.data(), listed_of_,
       element_bytes(DType::i32));
  settle_requests(context, requests(), request_count_, owners_, place_.rank);
}

void RowTrade::fetch(const Context& context, Tensor out, Tensor answers) const {
  send(context, "rows", out.data(), listed_of_, answers.data(), requested_by_,
       out.dim(1) * element_bytes(out.dtype()));
}

void RowTrade::deliver(const Context& context, Tensor out, Tensor rows) const {
  send(context, "row gradients", out.data(), requested_by_, rows.data(), listed_of_,
       rows.dim(1) * element_bytes(rows.dtype()));
}

void RowTrade::send(const Context& context, const char* purpose, void* to,
                    const std::vector<std::int64_t>& to_counts, const void* from,
                    const std::vector<std::int64_t>& from_counts, std::int64_t row_bytes) const {
  std::vector<std::int64_t> to_bytes = to_counts;
  std::vector<std::int64_t> from_bytes = from_counts;
  for (std::int64_t& bytes : to_bytes) bytes *= row_bytes;
  for (std::int64_t& bytes : from_bytes) bytes *= row_bytes;
  const ExchangePurpose named(*context.communicator, purpose);
  context.communicator->all_to_all(context, to, to_bytes, from, from_bytes);
}

}  // namespace memengine
