// Addresses, and what is read there when.
#include "model/memory/peer_trade.h"

#include <algorithm>

#include "kernels/runtime/runtime.h"
#include "kernels/table/spread/merge_requests.h"

namespace memengine {

PeerTrade::PeerTrade(const RowOwners& owners, RankPlace place, std::int64_t picks, bool training,
                     Arena& device)
    : owners_(owners), place_(place) {
  if (!training) return;
  const auto integers = [&](std::initializer_list<std::int64_t> shape) {
    return device.allocate("memory layers", DType::i32, shape);
  };
  counts_ = integers({owners.ranks});
  requests_ = integers({capacity(owners, picks)});
  request_count_ = integers({1});
  begins_ = integers({owners.ranks, 2});
}

std::int64_t PeerTrade::capacity(const RowOwners& owners, std::int64_t picks) {
  return owners.ranks * std::min(picks, owners.part());
}

std::int64_t PeerTrade::owned_capacity(const RowOwners& owners, std::int64_t picks) {
  return std::min(capacity(owners, picks), owners.part()) + 1;
}

void PeerTrade::find_peers(Communicator& ranks, const std::vector<ValueTable>& tables,
                           Tensor list) {
  const auto find = [&](void* mine) { return PeerAddresses(ranks.peers(mine)); };
  for (const ValueTable& table : tables) {
    const ValueRows& rows = table.rows();
    if (table.reads_peers()) tables_.push_back({find(rows.hi), find(rows.records), rows.layout});
    if (!counts_.empty()) gradients_.push_back(find(table.listed_gradients().data()));
  }
  if (!counts_.empty()) lists_ = {find(list.data()), find(counts_.data())};
}

void PeerTrade::read(const Context& context, std::size_t t, Tensor out, const UniqueRows& unique,
                     ValuePrecision precision) const {
  gather_peer_rows(context, out, tables_[t], unique, owners_, precision);
}

void PeerTrade::open(const Context& context, const UniqueRows& list,
                     const UniqueRows& owned) const {
  count_by_owner(context, counts_, list, owners_);
  context.communicator->meet(context);
  pull_requests(context, requests_, request_count_, begins_, lists_, owners_, place_.rank);
  merge_requests(context, owned, requests_, request_count_, begins_, owners_.part());
}

void PeerTrade::sum(const Context& context, std::size_t t, const ValueTable& table,
                    const UniqueRows& owned) const {
  sum_peer_rows(context, table.row_gradients(), table.gradient_square_sum(), gradients_[t], begins_,
                owned);
}

PeerTrade::Counts PeerTrade::counts(const Context& context) const {
  const auto to_host = [&](const Tensor& integers) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(integers.size()));
    copy_bytes(context, values.data(), integers.data(), integers.bytes());
    return values;
  };
  const std::vector<std::int32_t> listed = to_host(counts_);
  const std::vector<std::int32_t> begins = to_host(begins_);
  const std::int32_t all = to_host(request_count_).front();
  Counts counts;
  counts.listed_of.assign(listed.begin(), listed.end());
  for (std::size_t r = 0; r < counts.listed_of.size(); ++r) {
    const std::int32_t end = r + 1 < counts.listed_of.size() ? begins[2 * (r + 1)] : all;
    counts.requested_by.push_back(end - begins[2 * r]);
  }
  return counts;
}

}  // namespace memengine
