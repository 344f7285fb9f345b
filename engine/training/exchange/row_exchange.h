// The exchange of staged rows, whose one owner this is.
//
// Rows of a host table that a step updates are brought into GPU memory while the step computes, and
// the rows that the step before has left there and this one does not update go back
// (kernels/table/staged_rows/staged_rows.h has the rules of who stays):
//
//     main | layers to the last lookup | ... head, backward pass        | the rest  | update
//     side |                           | who goes and comes | gradients | and norms | of rows
//     link |                           | rows go and come, in a few of the blocks |
//
// A step calls start() once for each bank and finish() before its update; between two steps
// everybody who reads a host table itself calls store() first.
#pragma once

#include <span>

#include "kernels/runtime/runtime.h"
#include "model/memory/memory_bank.h"

namespace memengine {

class RowExchange {
 public:
  // Empties the staging areas. The runtime and the banks outlive this object.
  RowExchange(Runtime& runtime, std::span<const MemoryBank> banks);

  // Once all picks of a bank are there: its distinct rows, who goes and who comes, on the side
  // stream; the copies, on the link stream.
  void start(const MemoryBank& bank) const;

  // What is left of the copies, with the whole GPU; the main stream has waited for the link stream
  // then. Without banks too, so that every step has the same streams.
  void finish() const;

  // Puts all that is still staged back into the tables.
  void store() const;

 private:
  Runtime& runtime_;
  std::span<const MemoryBank> banks_;
};

}  // namespace memengine
