// One small arena, never rewound: an example is over before it is full.
#include "engine/course/blackboard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace memengine::course {
namespace {

constexpr std::int64_t arena_bytes = std::int64_t{1} << 20;
constexpr std::int64_t scratch_bytes = std::int64_t{1} << 20;

template <typename T>
std::vector<T> elements_of(const Tensor& tensor, std::int64_t count) {
  const T* first = tensor.as<T>();
  return {first, first + (count < 0 ? tensor.size() : count)};
}

}  // namespace

Blackboard::Blackboard() : runtime_(Device::cpu), arena_(Device::cpu, arena_bytes) {
  runtime_.reserve_scratch(scratch_bytes);
}

Tensor Blackboard::zeros(DType dtype, std::initializer_list<std::int64_t> shape) {
  return arena_.allocate("course", dtype, shape);
}

Tensor Blackboard::floats(std::initializer_list<std::int64_t> shape,
                          const std::vector<float>& values) {
  const Tensor tensor = zeros(DType::f32, shape);
  std::copy_n(values.begin(), tensor.size(), tensor.as<float>());
  return tensor;
}

Tensor Blackboard::integers(const std::vector<std::int32_t>& values) {
  const Tensor tensor = zeros(DType::i32, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.as<std::int32_t>());
  return tensor;
}

UniqueRows Blackboard::deduplicate(Tensor picks, std::int64_t table_rows) {
  const std::int64_t capacity = std::min(picks.size(), table_rows);
  const UniqueRows unique = {.rows = zeros(DType::i32, {capacity}),
                             .count = zeros(DType::i32, {1}),
                             .inverse = zeros(DType::i32, {picks.size()}),
                             .order = zeros(DType::i32, {picks.size()}),
                             .offsets = zeros(DType::i32, {capacity + 1}),
                             .places = zeros(DType::i32, {picks.size()})};
  memengine::deduplicate(context(), unique, picks, table_rows);
  return unique;
}

ValueRows Blackboard::table(std::int64_t rows, std::int64_t v_dim, float weight) {
  ValueRows table;
  table.rows = rows;
  table.layout.v_dim = v_dim;
  table.hi = static_cast<std::uint16_t*>(zeros(DType::bf16, {rows, v_dim}).data());
  table.records = static_cast<std::byte*>(zeros(DType::u8, {rows, table.layout.bytes()}).data());
  const SplitFloat split = split_float(weight);
  std::fill_n(table.hi, rows * v_dim, split.hi);
  for (std::int64_t row = 0; row < rows; ++row) {
    auto* lo = reinterpret_cast<std::uint16_t*>(table.records + row * table.layout.bytes());
    std::fill_n(lo, v_dim, split.lo);
  }
  return table;
}

UpdateState Blackboard::updates(const Schedule& schedule) {
  const auto steps = static_cast<std::int64_t>(schedule.entries.size());
  const auto bytes = static_cast<std::int64_t>(sizeof(ScheduleEntry)) * steps;
  UpdateState state;
  state.schedule = zeros(DType::u8, {bytes});
  std::memcpy(state.schedule.data(), schedule.entries.data(), static_cast<std::size_t>(bytes));
  state.log_decay = zeros(DType::f64, {steps});
  state.step = zeros(DType::i32, {1});
  state.dense_scale = floats({1}, {1});
  state.value_scale = floats({1}, {1});
  return state;
}

std::vector<float> floats_of(const Tensor& tensor, std::int64_t count) {
  return elements_of<float>(tensor, count);
}

std::vector<std::int32_t> integers_of(const Tensor& tensor, std::int64_t count) {
  return elements_of<std::int32_t>(tensor, count);
}

float first_weight(const ValueRows& table, std::int64_t row) {
  const auto* lo =
      reinterpret_cast<const std::uint16_t*>(table.records + row * table.layout.bytes());
  return join_float(table.hi[row * table.v_dim()], *lo);
}

std::string line_of(const std::string& name, const std::vector<std::int32_t>& values) {
  std::string line = fmt::format("{:<9}", name);
  for (const std::int32_t value : values) line += fmt::format("{:>4}", value);
  return line;
}

std::vector<double> as_doubles(const std::vector<std::int32_t>& values) {
  return {values.begin(), values.end()};
}

}  // namespace memengine::course
