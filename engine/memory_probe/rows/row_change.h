// Which rows of the value tables changed between two checkpoints, and how much.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/model_files/model_source.h"

namespace memengine {

struct RowChange {
  std::int64_t row = 0;
  double change = 0;             // |b - a|, Euclidean
  double before = 0, after = 0;  // |a|, |b|
  double cosine = 0;             // of a and b; 0 where either is zero
};

struct TableChange {
  std::string table;
  std::int64_t layer = 0;              // the first layer that reads it
  std::int64_t rows = 0, changed = 0;  // `changed`: by any bit
  double mean_change = 0;              // over all rows
  double root_mean_square = 0;
  std::vector<RowChange> top;  // most changed first
  // Rows by log10 of their change, from 1e-6 and below to 1e2 and above, four bins a decade.
  std::vector<std::int64_t> histogram;
};

// Reads both models' tables once, block by block. Input errors: other shapes of memory.
std::vector<TableChange> compare_tables(
    const ModelSource& a, const ModelSource& b, std::size_t top,
    const std::function<void(std::int64_t done, std::int64_t all)>& progress = {});

}  // namespace memengine
