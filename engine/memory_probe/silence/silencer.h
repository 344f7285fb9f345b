// Silences parts of a model's memory, and lets them speak again.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/memory_probe/probe_model.h"
#include "kernels/runtime/memory/arena.h"

namespace memengine {

class Silencer {
 public:
  // The model outlives it; one at a time.
  explicit Silencer(ProbeModel& model);
  ~Silencer() { clear(); }
  Silencer(const Silencer&) = delete;
  Silencer& operator=(const Silencer&) = delete;

  // Each in place of what was silent before.
  void clear();
  // A whole layer: it adds nothing to the residual state.
  void layer(std::size_t memory);
  // Picks of one head have no weight.
  void head(std::size_t memory, std::size_t head);
  // Picks of these rows of the table that `memory` reads have none, in every layer that reads it.
  void rows(std::span<const std::int64_t> rows, std::size_t memory);
  // The same of every table: [tables], the one that all layers share or one for each.
  void rows(const std::vector<std::vector<std::int64_t>>& of_tables);

 private:
  void upload(const Tensor& to, const std::vector<std::uint8_t>& flags);

  ProbeModel& model_;
  Arena arena_;
  Tensor heads_;  // u8 [H]
  Tensor rows_;   // u8 [tables, rows]
};

}  // namespace memengine
