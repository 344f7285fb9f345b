// Each head's picks are searched by one thread, which keeps what it finds to itself until the end.
#include "engine/memory_probe/rows/row_reads.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace memengine {
namespace {

// Stronger first; of equals the earlier place.
bool is_stronger(const RowRead& a, const RowRead& b) {
  return a.weight > b.weight || (a.weight == b.weight && a.place < b.place);
}

std::vector<std::pair<std::int32_t, std::int64_t>> most_frequent(
    const std::map<std::int32_t, std::int64_t>& counts, std::size_t keep) {
  std::vector<std::pair<std::int32_t, std::int64_t>> list(counts.begin(), counts.end());
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (list.size() > keep) list.resize(keep);
  return list;
}

}  // namespace

std::int64_t RowReaders::all_reads() const {
  return std::accumulate(reads.begin(), reads.end(), std::int64_t{0});
}

RowReads::RowReads(const ProbeModel& model, const std::vector<std::int64_t>& rows,
                   std::size_t table_of, std::size_t keep, std::size_t words)
    : rows_(rows),
      wanted_(static_cast<std::size_t>(model.rows())),
      memory_count_(model.layers().size()),
      heads_(static_cast<std::size_t>(model.heads())),
      keep_(keep),
      words_(words),
      v_dim_(model.config().value_dim()) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    wanted_[static_cast<std::size_t>(rows[i])] = 1;
    index_[rows[i]] = i;
  }
  for (std::size_t memory = 0; memory < memory_count_; ++memory) {
    if (model.shares_table() || memory == table_of) memories_.push_back(memory);
  }
  found_.assign(memories_.size() * heads_, std::vector<Found>(rows.size()));
}

void RowReads::read(Found& found, const LookupPass& pass, std::size_t memory, std::size_t head,
                    std::int64_t token, std::int64_t pick) const {
  const auto at = static_cast<std::size_t>(token);
  const LayerLookup& lookup = pass.memories[memory];
  RowRead read;
  read.weight = lookup.weights[pick];
  read.memory = memory;
  read.head = head;
  read.place = tokens_ + token;
  read.token = pass.rows.tokens[at];
  read.next = pass.rows.targets[at];
  ++found.reads;
  found.weight += read.weight;
  ++found.tokens[read.token];
  ++found.next[read.next];
  if (lookup.gate.data != nullptr) {
    found.gate.resize(static_cast<std::size_t>(v_dim_));
    for (std::int64_t i = 0; i < v_dim_; ++i) {
      const double x = lookup.gate[token * v_dim_ + i];
      found.gate[static_cast<std::size_t>(i)] += read.weight * x / (1 + std::exp(-x));
    }
  }
  auto& heap = found.strongest;
  if (keep_ == 0 || (heap.size() == keep_ && !is_stronger(read, heap.front()))) return;
  if (heap.size() == keep_) {
    std::pop_heap(heap.begin(), heap.end(), is_stronger);
    heap.pop_back();
  }
  const auto start = static_cast<std::size_t>(pass.rows.document_start[at]);
  const std::size_t first = std::max(start, at - std::min(at, words_));
  read.before.assign(pass.rows.tokens.begin() + static_cast<std::ptrdiff_t>(first),
                     pass.rows.tokens.begin() + static_cast<std::ptrdiff_t>(at));
  heap.push_back(std::move(read));
  std::push_heap(heap.begin(), heap.end(), is_stronger);
}

void RowReads::add(const LookupPass& pass) {
  const std::int64_t stride = pass.heads * pass.knn;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t list = 0; list < static_cast<std::int64_t>(found_.size()); ++list) {
    const std::size_t memory = memories_[static_cast<std::size_t>(list) / heads_];
    const std::size_t head = static_cast<std::size_t>(list) % heads_;
    const std::int32_t* picks = pass.memories[memory].picks;
    for (std::int64_t token = 0; token < pass.size(); ++token) {
      const std::int64_t first = token * stride + static_cast<std::int64_t>(head) * pass.knn;
      for (std::int64_t pick = first; pick < first + pass.knn; ++pick) {
        if (wanted_[static_cast<std::size_t>(picks[pick])] == 0) continue;
        read(found_[static_cast<std::size_t>(list)][index_.at(picks[pick])], pass, memory, head,
             token, pick);
      }
    }
  }
  tokens_ += pass.size();
}

std::vector<RowReaders> RowReads::result() const {
  std::vector<RowReaders> result(rows_.size());
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    RowReaders& row = result[i];
    row.row = rows_[i];
    row.reads.assign(memory_count_ * heads_, 0);
    row.weight.assign(memory_count_ * heads_, 0);
    row.gate.resize(memory_count_);
    std::map<std::int32_t, std::int64_t> tokens, next;
    std::vector<double> gate_weight(memory_count_);
    for (std::size_t list = 0; list < found_.size(); ++list) {
      const Found& found = found_[list][i];
      const std::size_t memory = memories_[list / heads_];
      row.reads[memory * heads_ + list % heads_] = found.reads;
      row.weight[memory * heads_ + list % heads_] = found.weight;
      for (const auto& [token, count] : found.tokens) tokens[token] += count;
      for (const auto& [token, count] : found.next) next[token] += count;
      row.strongest.insert(row.strongest.end(), found.strongest.begin(), found.strongest.end());
      if (found.gate.empty()) continue;
      row.gate[memory].resize(found.gate.size());
      for (std::size_t c = 0; c < found.gate.size(); ++c) row.gate[memory][c] += found.gate[c];
      gate_weight[memory] += found.weight;
    }
    for (std::size_t memory = 0; memory < memory_count_; ++memory) {
      for (double& x : row.gate[memory]) x /= std::max(gate_weight[memory], 1e-30);
    }
    std::sort(row.strongest.begin(), row.strongest.end(), is_stronger);
    std::set<std::int64_t> places;
    std::erase_if(row.strongest,
                  [&](const RowRead& read) { return !places.insert(read.place).second; });
    if (row.strongest.size() > keep_) row.strongest.resize(keep_);
    row.tokens = most_frequent(tokens, keep_);
    row.next = most_frequent(next, keep_);
  }
  return result;
}

std::vector<RowReaders> find_row_readers(ProbeModel& model, const NextPass& next,
                                         const std::vector<std::int64_t>& rows,
                                         std::size_t table_of, std::size_t keep) {
  RowReads reads(model, rows, table_of, keep);
  read_lookups(model.model(), {.weights = true, .gate = true}, next,
               [&](const LookupPass& pass) { reads.add(pass); });
  return reads.result();
}

}  // namespace memengine
