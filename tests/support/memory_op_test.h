// Fixture for the ops of a memory layer: pick patterns from uniform to collapsed, the unique rows
// of a list of picks as a plain sort gives them, and a value table whose state can be read back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/table/deduplicate.h"
#include "kernels/table/staged_rows/staged_rows.h"
#include "kernels/table/value_rows.h"
#include "tests/support/op_test.h"

namespace memengine {

// The unique rows of a list of picks, computed the plain way.
struct ExpectedRows {
  std::vector<std::int32_t> rows, inverse, order, offsets, places;

  explicit ExpectedRows(const std::vector<std::int32_t>& picks) {
    order.resize(picks.size());
    inverse.resize(picks.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return picks[at(a)] < picks[at(b)]; });
    for (std::size_t i = 0; i < order.size(); ++i) {
      const std::int32_t row = picks[at(order[i])];
      if (rows.empty() || rows.back() != row) {
        rows.push_back(row);
        offsets.push_back(static_cast<std::int32_t>(i));
      }
      places.push_back(static_cast<std::int32_t>(rows.size()) - 1);
      inverse[at(order[i])] = places.back();
    }
    offsets.push_back(static_cast<std::int32_t>(order.size()));
  }
  std::int64_t count() const { return static_cast<std::int64_t>(rows.size()); }

  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
};

// The state of a value table as numbers; all [rows, v_dim] but last_step [rows], and v [rows] where
// a row has one second moment.
struct TableState {
  std::vector<double> weights, m, v;
  std::vector<std::uint32_t> last_step;
};

class MemoryOpTest : public OpTest {
 protected:
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  // Picks like those of a healthy memory (uniform), a dying one (skewed: nine of ten picks on three
  // rows), a dead one (collapsed: one row) and the worst case for traffic (distinct).
  std::vector<std::vector<std::int32_t>> pick_patterns(std::int64_t count, std::int64_t rows) {
    const auto draw = [&] { return static_cast<std::int32_t>(integer(0, rows - 1)); };
    std::vector<std::int32_t> uniform(at(count));
    std::vector<std::int32_t> skewed(at(count));
    const std::vector<std::int32_t> collapsed(at(count), draw());
    const std::int32_t favourites[3] = {draw(), draw(), draw()};
    for (std::int32_t& pick : uniform) pick = draw();
    for (std::int32_t& pick : skewed) {
      pick = integer(0, 9) == 0 ? draw() : favourites[at(integer(0, 2))];
    }
    std::vector<std::vector<std::int32_t>> patterns = {uniform, skewed, collapsed};
    if (count <= rows) {
      std::vector<std::int32_t> distinct(at(count));
      for (std::int64_t i = 0; i < count; ++i) {
        distinct[at(i)] = static_cast<std::int32_t>(rows / count * i);
      }
      std::shuffle(distinct.begin(), distinct.end(), random_);
      patterns.push_back(distinct);
    }
    return patterns;
  }

  UniqueRows poisoned_rows(std::int64_t picks, std::int64_t capacity) {
    return {.rows = poisoned(DType::i32, {capacity}),
            .count = poisoned(DType::i32, {1}),
            .inverse = poisoned(DType::i32, {picks}),
            .order = poisoned(DType::i32, {picks}),
            .offsets = poisoned(DType::i32, {capacity + 1}),
            .places = poisoned(DType::i32, {picks})};
  }

  // The expected unique rows on the device, with `spare` unused rows of capacity after them.
  UniqueRows upload_rows(const ExpectedRows& expected, std::int64_t spare) {
    const std::int64_t picks = static_cast<std::int64_t>(expected.order.size());
    const auto padded = [&](std::vector<std::int32_t> values) {
      values.insert(values.end(), at(spare), 0x7f7f7f7f);
      return values;
    };
    const std::int64_t capacity = expected.count() + spare;
    return {.rows = upload(DType::i32, {capacity}, padded(expected.rows)),
            .count = upload(DType::i32, {1}, {static_cast<std::int32_t>(expected.count())}),
            .inverse = upload(DType::i32, {picks}, expected.inverse),
            .order = upload(DType::i32, {picks}, expected.order),
            .offsets = upload(DType::i32, {capacity + 1}, padded(expected.offsets)),
            .places = upload(DType::i32, {picks}, expected.places)};
  }

  // A table on the device filled with poison.
  ValueRows poisoned_table(std::int64_t rows, std::int64_t v_dim, DType moments = DType::f32,
                           bool row_second_moment = false) {
    ValueRows table;
    table.rows = rows;
    table.layout = {v_dim, moments, true, row_second_moment};
    table.hi = static_cast<std::uint16_t*>(poisoned(DType::bf16, {rows, v_dim}).data());
    table.records =
        static_cast<std::byte*>(poisoned(DType::u8, {rows, table.layout.bytes()}).data());
    return table;
  }

  // An area of poison for `capacity` rows of a table of `rows` and lists of up to `listed` rows;
  // not empty yet.
  StagedRows poisoned_staging(std::int64_t capacity, const ValueRows& table, std::int64_t listed,
                              std::int64_t guests = 0) {
    return staged_rows(
        {.places = capacity, .guests = guests, .listed = listed, .table_rows = table.rows},
        table.layout, [&](DType dtype, std::initializer_list<std::int64_t> shape) {
          return poisoned(dtype, shape);
        });
  }

  // Writes the state, which is rounded in place to what the table can hold.
  void upload_table(const ValueRows& table, TableState& state) {
    const std::int64_t v_dim = table.v_dim();
    const RecordLayout& layout = table.layout;
    std::vector<std::uint16_t> hi(at(table.rows * v_dim));
    std::vector<std::byte> records(at(table.rows * layout.bytes()));
    for (std::int64_t row = 0; row < table.rows; ++row) {
      std::byte* record = records.data() + row * layout.bytes();
      for (std::int64_t i = 0; i < v_dim; ++i) {
        const std::size_t element = at(row * v_dim + i);
        const SplitFloat weight = split_float(static_cast<float>(state.weights[element]));
        hi[element] = weight.hi;
        std::memcpy(record + 2 * i, &weight.lo, 2);
        if (!layout.has_moments) continue;
        store_moment(record + layout.m_offset(), i, layout.moments, state.m[element]);
      }
      for (std::int64_t i = 0; i < layout.second_moments(); ++i) {
        store_moment(record + layout.v_offset(), i, layout.second_moment_dtype(),
                     state.v[at(row * layout.second_moments() + i)]);
      }
      std::memcpy(record + layout.step_offset(), &state.last_step[at(row)], 4);
    }
    copy_bytes(context(), table.hi, hi.data(), table.rows * v_dim * 2);
    copy_bytes(context(), table.records, records.data(), table.rows * layout.bytes());
    state = download_table(table);
  }

  TableState download_table(const ValueRows& table) {
    const std::int64_t v_dim = table.v_dim();
    const RecordLayout& layout = table.layout;
    std::vector<std::uint16_t> hi(at(table.rows * v_dim));
    std::vector<std::byte> records(at(table.rows * layout.bytes()));
    copy_bytes(context(), hi.data(), table.hi, table.rows * v_dim * 2);
    copy_bytes(context(), records.data(), table.records, table.rows * layout.bytes());
    runtime_.synchronize();
    TableState state;
    state.last_step.resize(at(table.rows));
    for (std::int64_t row = 0; row < table.rows; ++row) {
      const std::byte* record = records.data() + row * layout.bytes();
      for (std::int64_t i = 0; i < v_dim; ++i) {
        std::uint16_t lo = 0;
        std::memcpy(&lo, record + 2 * i, 2);
        state.weights.push_back(join_float(hi[at(row * v_dim + i)], lo));
        if (!layout.has_moments) continue;
        state.m.push_back(load_moment(record + layout.m_offset(), i, layout.moments));
      }
      for (std::int64_t i = 0; i < layout.second_moments(); ++i) {
        state.v.push_back(load_moment(record + layout.v_offset(), i, layout.second_moment_dtype()));
      }
      std::memcpy(&state.last_step[at(row)], record + layout.step_offset(), 4);
    }
    return state;
  }

  // Weights and moments as a table has them in the middle of a training.
  TableState random_state(std::int64_t rows, std::int64_t v_dim, std::uint32_t newest_step) {
    TableState state;
    state.weights = normal(rows * v_dim);
    state.m = normal(rows * v_dim, 0.1);
    state.v = normal(rows * v_dim, 0.1);
    for (double& v : state.v) v = v * v;
    for (std::int64_t row = 0; row < rows; ++row) {
      state.last_step.push_back(static_cast<std::uint32_t>(integer(0, newest_step)));
    }
    return state;
  }

 private:
  static void store_moment(std::byte* moments, std::int64_t i, DType dtype, double value) {
    const float single = static_cast<float>(value);
    const bfloat16 half = to_bfloat16(single);
    if (dtype == DType::f32) std::memcpy(moments + 4 * i, &single, 4);
    if (dtype == DType::bf16) std::memcpy(moments + 2 * i, &half, 2);
  }
  static double load_moment(const std::byte* moments, std::int64_t i, DType dtype) {
    float single = 0;
    bfloat16 half;
    if (dtype == DType::f32) std::memcpy(&single, moments + 4 * i, 4);
    if (dtype == DType::bf16) std::memcpy(&half, moments + 2 * i, 2);
    return dtype == DType::f32 ? single : to_float(half);
  }
};

}  // namespace memengine
