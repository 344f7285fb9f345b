// Slots of lookups, and the merge of their gradients.
#include "model/memory/memory_bank.h"

#include <algorithm>
#include <numeric>

#include "kernels/bag/embedding_bag.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime.h"
#include "kernels/table/row_usage.h"
#include "kernels/table/spread/merge_requests.h"

namespace memengine {
namespace {

// What a lookup needs beside the list of rows, and what the gradient needs.
struct WantedLists {
  bool inverse = false;
  bool places = false;
};

UniqueRows allocate_unique(Arena& arena, std::int64_t picks, std::int64_t rows,
                           WantedLists wanted) {
  const std::int64_t capacity = std::min(picks, rows);
  UniqueRows unique;
  unique.rows = arena.allocate("memory layers", DType::i32, {capacity});
  unique.count = arena.allocate("memory layers", DType::i32, {1});
  if (wanted.inverse) unique.inverse = arena.allocate("memory layers", DType::i32, {picks});
  if (wanted.places) unique.places = arena.allocate("memory layers", DType::i32, {picks});
  unique.order = arena.allocate("memory layers", DType::i32, {picks});
  unique.offsets = arena.allocate("memory layers", DType::i32, {capacity + 1});
  return unique;
}

std::vector<std::int32_t> to_host(const Context& context, const Tensor& integers) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(integers.size()));
  copy_bytes(context, values.data(), integers.data(), integers.bytes());
  return values;
}

}  // namespace

MemoryBank::MemoryBank(std::int64_t owner, const ModelConfig& config, Placement placement,
                       const ReadCapacity& capacity, DType compute_dtype, bool training,
                       Arena& device, Arena& host)
    : capacity_(capacity) {
  const std::string prefix = "layers." + std::to_string(owner) + ".feed_forward.";
  std::vector<std::string> names = {"values.weight"};
  if (config.productkey_args.peer_variant) names = {"values_u.weight", "values_v.weight"};
  for (const std::string& name : names) {
    tables_.emplace_back(prefix + name, config, placement, capacity, compute_dtype, training,
                         device, host);
  }
  const std::int64_t rows = tables_.front().owners().numbers();
  const std::int64_t tokens = capacity.slots * capacity.tokens;
  picks_ = device.allocate("memory layers", DType::i32, {tokens, capacity.picks});
  const bool gathers = !reads_in_place() && !reads_by_place();
  step_is_lookup_ = training && capacity.slots == 1 && gathers;
  if (gathers) {
    lookup_rows_ = allocate_unique(device, capacity.tokens * capacity.picks, rows,
                                   {step_is_lookup_, step_is_lookup_});
  }
  usage_divergence_ = device.allocate("memory layers", DType::f64, {1});
  if (training) {
    step_rows_ = step_is_lookup_ ? lookup_rows_
                                 : allocate_unique(device, tokens * capacity.picks, rows,
                                                   {.inverse = false, .places = true});
  }
  if (training && capacity.updated_rows > 0) plan_choice(tokens * capacity.picks, device);
  if (tables_.front().is_shared()) {
    plan_peers(training, device);
  } else if (is_spread()) {
    plan_trade(compute_dtype == DType::f64 ? DType::f64 : DType::f32, training, device);
  }
}

void MemoryBank::plan_choice(std::int64_t picks, Arena& device) {
  if (is_spread()) {
    fail_input(
        "optim.rows_per_step={}: several ranks cannot choose rows of a table that is spread over "
        "them: train on one",
        capacity_.updated_rows);
  }
  const std::int64_t rows = tables_.front().rows().rows;
  chosen_rows_ = allocate_unique(device, picks, std::min(rows, capacity_.updated_rows),
                                 {.inverse = false, .places = true});
  const auto allocate = [&](DType dtype, std::int64_t count) {
    return device.allocate("memory layers", dtype, {count});
  };
  background_ = {allocate(DType::i32, rows), allocate(DType::i32, 1),
                 allocate(DType::f32, most_background_batches + 1)};
}

void MemoryBank::plan_trade(DType accumulator, bool training, Arena& device) {
  const ValueTable& table = tables_.front();
  const RowOwners& owners = table.owners();
  const std::int64_t v_dim = table.rows().v_dim();
  const std::int64_t lookup_picks = capacity_.tokens * capacity_.picks;
  spread_picks_ = device.allocate("memory layers", DType::i32, {picks_.dim(0), picks_.dim(1)});
  lookup_trade_ = std::make_shared<RowTrade>(owners, capacity_.place, lookup_picks, device);
  const std::int64_t answers = RowTrade::capacity(owners, lookup_picks);
  answers_ = device.allocate("memory layers", table.answer_dtype(), {answers, v_dim});
  if (table.reads_by_place()) {
    answer_places_ = device.allocate("memory layers", DType::i32, {answers});
  } else if (table.placement() == Placement::host) {
    asked_rows_ = allocate_unique(device, answers, owners.part(), {.inverse = true});
    asked_values_ =
        device.allocate("memory layers", table.answer_dtype(), {asked_rows_.capacity(), v_dim});
    zero_bases_ = device.allocate("memory layers", DType::i32, {1, 2});
  }
  if (!training) return;
  step_trade_ = step_is_lookup()
                    ? lookup_trade_
                    : std::make_shared<RowTrade>(owners, capacity_.place, step_picks(), device);
  const std::int64_t delivered = RowTrade::capacity(owners, step_picks());
  owned_rows_ =
      allocate_unique(device, delivered, owners.part(), {.inverse = false, .places = true});
  delivered_ = device.allocate("memory layers", accumulator, {delivered, v_dim});
  ones_ = device.allocate("memory layers", accumulator, {delivered, 1});
}

void MemoryBank::plan_peers(bool training, Arena& device) {
  const RowOwners& owners = tables_.front().owners();
  spread_picks_ = device.allocate("memory layers", DType::i32, {picks_.dim(0), picks_.dim(1)});
  peers_.emplace(owners, capacity_.place, step_picks(), training, device);
  if (!tables_.front().reads_peers()) {
    lookup_.emplace(tables_, capacity_.place, capacity_.tokens * capacity_.picks, device);
  }
  if (!training) return;
  const std::int64_t requests = PeerTrade::capacity(owners, step_picks());
  owned_rows_ = allocate_unique(device, requests, PeerTrade::owned_capacity(owners, step_picks()),
                                {.inverse = false, .places = true});
  pick_counts_ = device.allocate("memory layers", DType::i32, {2, requests});
}

void MemoryBank::find_peers(Communicator& ranks) {
  if (peers_) peers_->find_peers(ranks, tables_, step_rows_.rows);
  if (lookup_) lookup_->find_peers(ranks, tables_, lookup_rows_.rows);
}

void MemoryBank::initialize(const Context& context, std::uint64_t seed, double deviation) const {
  for (const ValueTable& table : tables_) table.initialize(context, seed, deviation);
}

Tensor MemoryBank::picks(std::int64_t slot, std::int64_t tokens) const {
  return picks_.rows(slot * capacity_.tokens, tokens);
}

void MemoryBank::locate(const Context& context, Tensor places, std::int64_t slot,
                        std::int64_t tokens) const {
  // Tables of one bank are of one size and see the same picks: their rows have the same places.
  const Tensor picks = this->picks(slot, tokens);
  for (const ValueTable& table : tables_) {
    table.locate(context, places, picks.reshape({picks.size()}), slot == 0);
  }
}

UniqueRows MemoryBank::lookup(Tensor inverse) const {
  UniqueRows unique = lookup_rows_;
  unique.inverse = inverse;
  unique.order = lookup_rows_.order.rows(0, inverse.size());
  if (!unique.places.empty()) unique.places = lookup_rows_.places.rows(0, inverse.size());
  return unique;
}

void MemoryBank::fetch(const Context& context, std::span<const Tensor> out, Tensor inverse,
                       std::int64_t slot, std::int64_t tokens) const {
  const RowOwners& owners = tables_.front().owners();
  const UniqueRows unique = lookup(inverse);
  const Tensor picks = this->picks(slot, tokens);
  // Others may still read the lists of the step before.
  if (peers_ && !lookup_ && slot == 0) context.communicator->meet(context);
  const Tensor numbers =
      spread_picks_.rows(slot * capacity_.tokens, tokens).reshape({picks.size()});
  spread_numbers(context, numbers, picks.reshape({picks.size()}), owners);
  deduplicate(context, unique, numbers, owners.numbers());
  if (lookup_) return lookup_->fetch(context, out, tables_, unique, decay_, slot == 0);
  if (peers_) {
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      peers_->read(context, t, out[t], unique, tables_[t].precision());
    }
    return;
  }
  lookup_trade_->open(context, unique);
  if (!asked_values_.empty()) {
    deduplicate(context, asked_rows_, lookup_trade_->requests(), owners.part());
  }
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    lookup_trade_->fetch(context, out[t], answer(context, tables_[t], slot == 0));
  }
}

// A row of a host table crosses the link once, however many ranks ask for it: as a guest of the
// cache, or by the list of the distinct rows.
Tensor MemoryBank::answer(const Context& context, const ValueTable& table,
                          bool first_of_pass) const {
  const Tensor requests = lookup_trade_->requests();
  const Tensor answers = answers_.rows(0, requests.size());
  if (asked_values_.empty()) {
    const Tensor places =
        answer_places_.empty() ? Tensor() : answer_places_.rows(0, requests.size());
    table.answer(context, answers, requests, lookup_trade_->request_count(), places, decay_,
                 first_of_pass);
    return answers;
  }
  table.gather(context, asked_values_, asked_rows_, decay_);
  // One owner's answers, read by itself: each request is a row of a list that has them all.
  UniqueRows list;
  list.rows = requests;
  list.count = lookup_trade_->request_count();
  read_answers(context, answers, PeerAddresses({asked_values_.data()}),
               PeerAddresses({asked_rows_.inverse.data()}), zero_bases_, list, table.owners());
  return answers;
}

void MemoryBank::merge_picks(const Context& context) const {
  const RowOwners& owners = tables_.front().owners();
  if (!step_is_lookup()) {
    const Tensor& picks = is_spread() ? spread_picks_ : picks_;
    deduplicate(context, step_rows_, picks.reshape({picks.size()}), owners.numbers());
  }
  if (chooses()) {
    choose_rows(context, chosen_rows_, step_rows_, background_, capacity_.updated_rows);
  }
  if (!is_spread()) return;
  if (peers_) return peers_->open(context, step_rows_, owned_rows_);
  if (!step_is_lookup()) step_trade_->open(context, step_rows_);
  deduplicate(context, owned_rows_, step_trade_->requests(), owners.part());
}

// They travel as gradients do.
std::vector<std::int32_t> MemoryBank::deliver_counts(const Context& context) const {
  PeerTrade::Counts all;
  if (peers_) all = peers_->counts(context);
  const auto total = [](const std::vector<std::int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  };
  const std::int64_t listed = peers_ ? total(all.listed_of) : step_trade_->listed();
  const std::int64_t requested = peers_ ? total(all.requested_by) : step_trade_->requests().size();
  const auto counts_in = [](const Tensor& memory, std::int64_t rows) {
    return Tensor(memory.data(), DType::i32, {rows, 1});
  };
  const Tensor sent = counts_in(peers_ ? pick_counts_ : tables_.front().row_gradients(), listed);
  const Tensor received = counts_in(peers_ ? pick_counts_.rows(1, 1) : delivered_, requested);
  const std::vector<std::int32_t> begins = to_host(context, step_rows_.offsets.rows(0, listed + 1));
  std::vector<std::int32_t> counts(static_cast<std::size_t>(listed));
  for (std::size_t u = 0; u < counts.size(); ++u) counts[u] = begins[u + 1] - begins[u];
  copy_bytes(context, sent.data(), counts.data(), sent.bytes());
  if (peers_) {
    for (std::int64_t& count : all.listed_of) count *= element_bytes(DType::i32);
    for (std::int64_t& count : all.requested_by) count *= element_bytes(DType::i32);
    const ExchangePurpose purpose(*context.communicator, "use of rows");
    context.communicator->all_to_all(context, received.data(), all.requested_by, sent.data(),
                                     all.listed_of);
  } else {
    step_trade_->deliver(context, received, sent);
  }
  return to_host(context, received);
}

std::vector<std::int64_t> MemoryBank::count_step_picks(const Context& context) const {
  const std::vector<std::int32_t> delivered = deliver_counts(context);
  const std::vector<std::int32_t> order =
      to_host(context, owned_rows_.order.rows(0, std::ssize(delivered)));
  const auto owned = static_cast<std::int64_t>(to_host(context, owned_rows_.count).front());
  const std::vector<std::int32_t> offsets =
      to_host(context, owned_rows_.offsets.rows(0, owned + 1));
  std::vector<std::int64_t> result(static_cast<std::size_t>(owned));
  for (std::size_t u = 0; u < result.size(); ++u) {
    for (std::int32_t i = offsets[u]; i < offsets[u + 1]; ++i) {
      result[u] += delivered[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])];
    }
  }
  return result;
}

void MemoryBank::empty_staging(const Context& context) const {
  if (!ones_.empty() && ones_.dtype() == DType::f64) {
    copy_bytes(context, ones_.data(), std::vector<double>(ones_.size(), 1).data(), ones_.bytes());
  } else if (!ones_.empty()) {
    copy_bytes(context, ones_.data(), std::vector<float>(ones_.size(), 1).data(), ones_.bytes());
  }
  for (const ValueTable& table : tables_) memengine::empty_staging(context, table.staged());
}

void MemoryBank::plan_exchange(const Context& context) const {
  for (const ValueTable& table : tables_) {
    memengine::plan_exchange(context, table.staged(), updated_rows());
  }
}

void MemoryBank::exchange_rows(const Context& context, ExchangePace pace) const {
  for (const ValueTable& table : tables_) {
    memengine::exchange_rows(context, table.staged(), table.rows(), pace);
  }
}

void MemoryBank::reduce_gradients(const Context& context) const {
  for (const ValueTable& table : tables_) {
    table.reduce_gradients(context, chooses() ? chosen_rows_ : step_rows_);
    if (!asks_host()) continue;
    const std::int64_t requested = step_trade_->requests().size();
    const Tensor delivered = delivered_.rows(0, requested);
    step_trade_->deliver(context, delivered, table.row_gradients());
    table.sum_delivered(context, ones_.rows(0, requested), delivered, owned_rows_);
  }
  if (!peers_) return;
  context.communicator->meet(context);
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    peers_->sum(context, t, tables_[t], owned_rows_);
  }
}

void MemoryBank::store_rows(const Context& context) const {
  for (const ValueTable& table : tables_) {
    memengine::store_rows(context, table.rows(), table.staged());
  }
}

void MemoryBank::measure_usage(const Context& context) const {
  memengine::usage_divergence(context, usage_divergence_, step_rows_, tables_.front().table_rows());
}

void MemoryBank::count_usage(const Context& context, Tensor histogram, std::int64_t slots,
                             std::int64_t tokens) const {
  // Slots that are full stand one after the other, and are counted as one.
  const bool full = tokens == capacity_.tokens;
  const std::int64_t rows = tables_.front().table_rows();
  for (std::int64_t slot = 0; slot < (full ? 1 : slots); ++slot) {
    const Tensor picks =
        picks_.rows(slot * capacity_.tokens, full ? slots * capacity_.tokens : tokens);
    UniqueRows unique = step_rows_;
    if (!unique.inverse.empty()) unique.inverse = unique.inverse.rows(0, picks.size());
    unique.order = unique.order.rows(0, picks.size());
    unique.places = unique.places.rows(0, picks.size());
    deduplicate(context, unique, picks.reshape({picks.size()}), rows);
    memengine::count_usage(context, histogram, unique);
  }
}

std::int64_t MemoryBank::scratch_bytes(Device device) const {
  const ValueTable& table = tables_.front();
  // With several ranks the requests, at the owner, are more picks.
  const std::int64_t picks =
      std::max(step_picks(), is_spread() ? RowTrade::capacity(table.owners(), step_picks()) : 0);
  const std::int64_t listed =
      std::max(std::min(picks, table.rows().rows), peers_ ? owned_rows_.rows.size() : 0);
  return std::max({deduplicate_scratch_bytes(device, picks, table.owners().numbers()),
                   plan_exchange_scratch_bytes(device, {.places = table.staged().capacity(),
                                                        .guests = 0,
                                                        .listed = listed,
                                                        .table_rows = table.rows().rows}),
                   chooses() ? choose_rows_scratch_bytes(device, step_rows_.capacity()) : 0,
                   peers_ ? sum_peer_rows_scratch_bytes(device) : 0,
                   peers_ ? merge_requests_scratch_bytes(device, listed, table.owners().part()) : 0,
                   usage_divergence_scratch_bytes,
                   embedding_bag_scratch_bytes(device, picks, table.rows().v_dim())});
}

std::int64_t MemoryBank::locate_scratch_bytes(Device device) const {
  const ValueTable& table = tables_.front();
  std::int64_t bytes = lookup_ ? lookup_->scratch_bytes(device) : 0;
  if (table.reads_by_place()) {
    bytes = std::max(bytes, invite_guests_scratch_bytes(device, table.rows().rows));
  }
  if (asked_values_.empty()) return bytes;
  return std::max(bytes, deduplicate_scratch_bytes(device, answers_.dim(0), table.owners().part()));
}

}  // namespace memengine
