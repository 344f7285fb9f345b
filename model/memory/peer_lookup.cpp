// Two ways to make rows ready, one way to read them.
#include "model/memory/peer_lookup.h"

#include <algorithm>

#include "kernels/runtime/runtime.h"
#include "kernels/table/spread/merge_requests.h"

namespace memengine {

PeerLookup::PeerLookup(const std::vector<ValueTable>& tables, RankPlace place, std::int64_t picks,
                       Arena& device)
    : owners_(tables.front().owners()), place_(place) {
  const auto integers = [&](std::initializer_list<std::int64_t> shape) {
    return device.allocate("memory layers", DType::i32, shape);
  };
  const std::int64_t most = owners_.ranks * std::min(picks, owners_.part());
  counts_ = integers({owners_.ranks});
  requests_ = integers({most});
  request_count_ = integers({1});
  begins_ = integers({owners_.ranks, 2});
  bases_ = integers({owners_.ranks, 2});
  numbers_ = integers({most});
  if (tables.front().reads_by_place()) return;
  // Requests are padded with one row more than the part has.
  const std::int64_t distinct = std::min(most, owners_.part() + 1);
  asked_.rows = integers({distinct});
  asked_.count = integers({1});
  asked_.inverse = numbers_;
  asked_.order = integers({most});
  asked_.offsets = integers({distinct + 1});
  for (const ValueTable& table : tables) {
    answers_.push_back(
        device.allocate("memory layers", table.answer_dtype(), {distinct, table.rows().v_dim()}));
  }
}

void PeerLookup::find_peers(Communicator& ranks, const std::vector<ValueTable>& tables,
                            Tensor list) {
  const auto find = [&](void* mine) { return PeerAddresses(ranks.peers(mine)); };
  lists_ = {find(list.data()), find(counts_.data())};
  all_numbers_ = find(numbers_.data());
  for (std::size_t t = 0; t < tables.size(); ++t) {
    rows_.push_back(find(answers_.empty() ? static_cast<void*>(tables[t].staged().values.hi)
                                          : answers_[t].data()));
  }
}

void PeerLookup::fetch(const Context& context, std::span<const Tensor> out,
                       const std::vector<ValueTable>& tables, const UniqueRows& unique,
                       const LazyDecay& decay, bool first_of_pass) const {
  Communicator& ranks = *context.communicator;
  count_by_owner(context, counts_, unique, owners_);
  ranks.meet(context);
  pull_requests(context, requests_, request_count_, begins_, lists_, owners_, place_.rank);
  find_bases(context, bases_, lists_.counts, place_.rank);
  if (answers_.empty()) {
    // Tables of one bank have their rows at the same places (MemoryBank::locate()).
    for (const ValueTable& table : tables) {
      table.locate(context, numbers_, requests_, first_of_pass, request_count_);
    }
  } else {
    merge_requests(context, asked_, requests_, request_count_, begins_, owners_.part());
    for (std::size_t t = 0; t < tables.size(); ++t) {
      tables[t].gather(context, answers_[t], asked_, decay);
    }
  }
  ranks.meet(context);
  for (std::size_t t = 0; t < tables.size(); ++t) {
    read_answers(context, out[t], rows_[t], all_numbers_, bases_, unique, owners_);
  }
}

std::int64_t PeerLookup::scratch_bytes(Device device) const {
  return answers_.empty() ? 0
                          : merge_requests_scratch_bytes(device, asked_.capacity(), owners_.part());
}

}  // namespace memengine
