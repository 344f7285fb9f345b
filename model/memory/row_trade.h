// Asking the owners of a spread table's rows, and handing in to them.
//
// Every rank opens a trade with its own list of distinct rows. From then on rows can be sent both
// ways, as often as one likes, by the same list: fetched from their owners (a lookup), or delivered
// to them (gradients).
//
//     this rank's list  | U rows, the rows of owner 0, of owner 1, ...
//     its requests      | Q rows: those of this rank's part that rank 0 lists, that rank 1 lists,
//     ...
//
// How many of each is known on the hosts: opening a trade waits for the device once. A row that
// several ranks list is in the requests as many times.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/runtime/memory/arena.h"
#include "kernels/table/spread/row_owners.h"

namespace memengine {

class RowTrade {
 public:
  // For lists of up to `picks` distinct rows on every rank. `place`: this rank.
  RowTrade(const RowOwners& owners, RankPlace place, std::int64_t picks, Arena& device);

  // Most requests.
  static std::int64_t capacity(const RowOwners& owners, std::int64_t picks);

  // `list` holds spread numbers (row_owners.h). All ranks call this together, and all that follows.
  void open(const Context& context, const UniqueRows& list);

  // Places of the requests in this rank's part, i32 [Q]; of each rank ascending.
  Tensor requests() const { return requests_.rows(0, answered_); }
  Tensor request_count() const { return request_count_; }  // i32 [1]: Q
  std::int64_t listed() const { return listed_; }          // U

  // out [U, ...] = answers [Q, ...] of all owners: row u of the list.
  void fetch(const Context& context, Tensor out, Tensor answers) const;
  // out [Q, ...] = rows [U, ...] of all ranks.
  void deliver(const Context& context, Tensor out, Tensor rows) const;

 private:
  void send(const Context& context, const char* purpose, void* to,
            const std::vector<std::int64_t>& to_counts, const void* from,
            const std::vector<std::int64_t>& from_counts, std::int64_t row_bytes) const;

  RowOwners owners_;
  RankPlace place_;
  Tensor counts_;         // i32 [2, ranks]: rows listed of each owner, rows requested by each rank
  Tensor requests_;       // i32 [capacity]
  Tensor request_count_;  // i32 [1]
  std::vector<std::int64_t> listed_of_, requested_by_;  // [ranks]
  std::int64_t listed_ = 0;
  std::int64_t answered_ = 0;
};

}  // namespace memengine
