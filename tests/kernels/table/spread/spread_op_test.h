// Fixture for the ops of a table that is spread over ranks: lists of its rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "kernels/table/spread/row_owners.h"
#include "tests/support/memory_op_test.h"

namespace memengine {

class SpreadOpTest : public MemoryOpTest {
 protected:
  // `count` distinct rows of a table, as spread numbers, ascending.
  std::vector<std::int32_t> some_numbers(std::int64_t count, const RowOwners& owners) {
    std::set<std::int32_t> numbers;
    while (std::ssize(numbers) < std::min(count, owners.rows)) {
      const std::int64_t row = integer(0, owners.rows - 1);
      numbers.insert(
          static_cast<std::int32_t>(row % owners.ranks * owners.part() + row / owners.ranks));
    }
    return {numbers.begin(), numbers.end()};
  }
  // With room after its end.
  UniqueRows upload_list(const std::vector<std::int32_t>& numbers) {
    UniqueRows list;
    std::vector<std::int32_t> padded = numbers;
    padded.insert(padded.end(), 5, -1);
    list.rows = upload(DType::i32, {std::ssize(padded)}, padded);
    list.count = upload(DType::i32, {1}, {static_cast<std::int32_t>(numbers.size())});
    return list;
  }
};

}  // namespace memengine
