// Rows go to the cache and back over many steps, and whoever asks for one gets its newest copy.
// What is kept and what goes is compared with the rule, written once more in words of the standard
// library.
#include "kernels/table/staged_rows/staged_rows.h"

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

constexpr std::int64_t rows = 400;
constexpr std::int64_t longest = 120;

// The rule on rows alone: what is where is not its concern, but for ties, which go by place.
class Model {
 public:
  explicit Model(std::int64_t places) : places_(static_cast<std::size_t>(places)) {}

  std::set<std::int32_t> there() const {
    std::set<std::int32_t> list;
    for (const auto& [row, place] : place_of_) list.insert(row);
    return list;
  }
  std::int32_t place(std::int32_t row) const {
    const auto found = place_of_.find(row);
    return found == place_of_.end() ? -1 : found->second;
  }
  std::size_t came = 0, went = 0;

  void step(const std::vector<std::int32_t>& list) {
    const std::set<std::int32_t> used(list.begin(), list.end());
    std::vector<std::int32_t> missing;
    for (const std::int32_t row : used) {
      if (place_of_.count(row) == 0) missing.push_back(row);
    }
    std::vector<std::pair<int, std::int32_t>> others;  // heat, place
    std::map<std::int32_t, std::int32_t> row_at;
    for (const auto& [row, place] : place_of_) {
      int& heat = heat_[row];
      heat -= (heat + 7) / 8;
      if (used.count(row) > 0)
        heat += 31;
      else
        others.emplace_back(heat, place);
      row_at[place] = row;
    }
    std::sort(others.begin(), others.end());
    const std::size_t free = places_ - place_of_.size();
    went = missing.size() > free ? std::min(missing.size() - free, others.size()) : 0;
    came = std::min(missing.size(), free + went);
    std::vector<std::int32_t> leave;
    for (std::size_t i = 0; i < went; ++i) leave.push_back(row_at[others[i].second]);
    std::sort(leave.begin(), leave.end());
    auto next = static_cast<std::int32_t>(place_of_.size());
    for (std::size_t i = 0; i < came; ++i) {
      const std::int32_t place = i < went ? place_of_[leave[i]] : next++;
      if (i < went) place_of_.erase(leave[i]);
      place_of_[missing[i]] = place;
      heat_[missing[i]] = 31;
    }
  }

 private:
  std::size_t places_;
  std::map<std::int32_t, std::int32_t> place_of_;
  std::map<std::int32_t, int> heat_;
};

class StagedRowsOp : public MemoryOpTest {
 protected:
  static void copy_row(TableState& to, std::int64_t to_row, const TableState& from,
                       std::int64_t from_row, std::int64_t v_dim) {
    for (std::int64_t i = 0; i < v_dim; ++i) {
      to.weights[at(to_row * v_dim + i)] = from.weights[at(from_row * v_dim + i)];
      to.m[at(to_row * v_dim + i)] = from.m[at(from_row * v_dim + i)];
      to.v[at(to_row * v_dim + i)] = from.v[at(from_row * v_dim + i)];
    }
    to.last_step[at(to_row)] = from.last_step[at(from_row)];
  }
  // Everything that is stored for a row.
  static std::vector<double> numbers(const TableState& state, std::int64_t row,
                                     std::int64_t v_dim) {
    std::vector<double> list;
    for (const auto* part : {&state.weights, &state.m, &state.v}) {
      list.insert(list.end(), part->begin() + row * v_dim, part->begin() + (row + 1) * v_dim);
    }
    list.push_back(state.last_step[at(row)]);
    return list;
  }
  std::vector<std::int32_t> first(Tensor tensor, std::int64_t count) {
    std::vector<std::int32_t> list = download_integers(tensor);
    list.resize(at(count));
    return list;
  }
  // The upper halves of rows [first, first + count) of `hi`.
  std::vector<std::uint16_t> weights(const std::uint16_t* hi, std::int64_t row, std::int64_t count,
                                     std::int64_t v_dim) {
    std::vector<std::uint16_t> bits(at(count * v_dim));
    copy_bytes(context(), bits.data(), hi + row * v_dim, count * v_dim * 2);
    download_integers(zeros(DType::i32, {1}));  // waits
    return bits;
  }

  // A pass of two lookups that pick the list's rows, the first half in both: every pick is where
  // its row's newest weights are.
  void look_up(const StagedRows& staged, const ValueRows& table, const Model& model,
               const std::vector<std::int32_t>& picks, const TableState& truth) {
    const std::int64_t v_dim = table.v_dim();
    forget_guests(context(), staged);
    std::set<std::int32_t> guests;
    for (const std::size_t begin : {std::size_t{0}, picks.size() / 2}) {
      const std::vector<std::int32_t> lookup(
          picks.begin(),
          begin == 0 ? picks.begin() + static_cast<std::ptrdiff_t>(picks.size() / 2) : picks.end());
      if (lookup.empty()) continue;
      const auto count = static_cast<std::int64_t>(lookup.size());
      // In the second lookup the device knows how many count: what follows is no row's number.
      std::vector<std::int32_t> padded = lookup;
      Tensor counted;
      if (begin > 0) {
        padded.insert(padded.end(), 9, INT32_MAX / 2);
        counted = upload(DType::i32, {1}, {static_cast<std::int32_t>(count)});
      }
      const Tensor device_picks = upload(DType::i32, {std::ssize(padded)}, padded);
      const auto before = static_cast<std::int32_t>(guests.size());
      invite_guests(context(), staged, device_picks, counted);
      std::vector<std::int32_t> invited;
      for (const std::int32_t row : std::set<std::int32_t>(lookup.begin(), lookup.end())) {
        if (model.place(row) < 0 && guests.insert(row).second) invited.push_back(row);
      }
      const auto after = static_cast<std::int32_t>(guests.size());
      ASSERT_EQ(download_integers(staged.pass), (std::vector<std::int32_t>{before, after}));
      std::vector<std::int32_t> listed = first(staged.guests, after);
      listed.erase(listed.begin(), listed.begin() + before);
      ASSERT_EQ(listed, invited);
      UniqueRows list;
      list.rows = staged.guests;
      list.count = staged.pass.rows(1, 1);
      gather_rows(context(), guest_rows(staged), table, list, ValuePrecision::bf16, {}, {},
                  staged.pass.rows(0, 1));
      const Tensor places = poisoned(DType::i32, {std::ssize(padded)});
      place_picks(context(), places, device_picks, staged, counted);
      const std::vector<std::int32_t> found = download_integers(places);
      const std::vector<std::uint16_t> all =
          weights(staged.values.hi, 0, staged.readable().rows, v_dim);
      for (std::size_t p = 0; p < lookup.size(); ++p) {
        const std::int32_t row = lookup[p];
        if (model.place(row) >= 0) {
          ASSERT_EQ(found[p], model.place(row));
        }
        ASSERT_LT(found[p], staged.readable().rows);
        for (std::int64_t i = 0; i < v_dim; ++i) {
          const auto weight = static_cast<float>(truth.weights[at(row * v_dim + i)]);
          ASSERT_EQ(all[at(found[p] * v_dim + i)], split_float(weight).hi) << "row " << row;
        }
      }
    }
  }
  void walk(std::int64_t v_dim, std::int64_t capacity, bool by_place);
};

// A walk of many steps with lists of every kind. The truth is kept apart, row by row; the table's
// copies of rows in the area are spoilt after every step, so that whoever reads one is found out.
void StagedRowsOp::walk(std::int64_t v_dim, std::int64_t capacity, bool by_place) {
  Runtime other(context().device);
  const DType moments = v_dim % 2 == 0 ? DType::bf16 : DType::f32;
  const ValueRows table = poisoned_table(rows, v_dim, moments);
  const StagedRows staged = poisoned_staging(capacity, table, longest, by_place ? longest : 0);
  empty_staging(context(), staged);
  TableState truth = random_state(rows, v_dim, 9);
  upload_table(table, truth);
  std::vector<std::vector<std::int32_t>> lists = pick_patterns(99, rows);
  lists.push_back(lists[0]);  // the same again
  lists.push_back(lists[0]);
  lists.back().erase(lists.back().begin(), lists.back().begin() + 40);
  lists.push_back({});
  for (auto& list : pick_patterns(longest, rows)) lists.push_back(std::move(list));
  for (int step = 0; step < 12; ++step) {  // hot rows and others
    const std::vector<std::int32_t> random = pick_patterns(40, rows)[0];
    lists.push_back(random);
    for (std::int32_t row = 0; row < 60; row += 1 + step % 2) lists.back().push_back(row);
  }
  Model model(capacity);
  int number = 0;
  for (const std::vector<std::int32_t>& picks : lists) {
    SCOPED_TRACE(testing::Message() << "list " << number++);
    const ExpectedRows list(picks);
    const std::int64_t length = list.count();
    const UniqueRows unique = upload_rows(list, longest - length);

    const Tensor newer = poisoned(DType::i32, {longest});
    find_staged(context(), newer, staged, unique);
    std::vector<std::int32_t> expected_newer(at(longest), 0x7f7f7f7f);
    for (std::int64_t u = 0; u < length; ++u) {
      expected_newer[at(u)] = model.place(list.rows[at(u)]);
    }
    ASSERT_EQ(download_integers(newer), expected_newer);
    if (by_place) {
      look_up(staged, table, model, picks, truth);
      if (HasFatalFailure()) return;
    }

    plan_exchange(context(), staged, unique);
    model.step(picks);
    std::vector<std::int32_t> moves = first(staged.moves, 2);
    ASSERT_EQ(moves, (std::vector<std::int32_t>{static_cast<std::int32_t>(model.came),
                                                static_cast<std::int32_t>(model.went)}));
    if (number % 3 == 0) {  // two streams share the work
      wait_for(other.context(), context());
      exchange_rows(other.context(), staged, table, ExchangePace::beside_others);
    }
    exchange_rows(context(), staged, table, ExchangePace::alone);
    wait_for(context(), other.context());
    const std::vector<std::int32_t> place_of = download_integers(staged.place_of);
    for (std::int32_t row = 0; row < rows; ++row) {
      const std::int32_t place = place_of[at(row)];
      ASSERT_EQ(place < capacity ? place : -1, model.place(row)) << "row " << row;
      ASSERT_TRUE(by_place || place < capacity);
    }
    const std::int64_t count = download_integers(staged.count)[0];
    std::vector<std::int32_t> listed = first(staged.listed, length);
    const std::vector<std::int32_t> placed = first(staged.placed, count);
    const TableState area = download_table(staged.values);
    TableState stored = download_table(table);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int32_t place = model.place(list.rows[at(listed[at(i)])]);
      if (i < count) {
        ASSERT_EQ(placed[at(i)], place);
      }
      ASSERT_EQ(place >= 0, i < count);
      ASSERT_TRUE(i == 0 || i >= count || listed[at(i - 1)] < listed[at(i)]);
    }
    for (std::int32_t row = 0; row < rows; ++row) {
      const std::int32_t place = model.place(row);
      ASSERT_EQ(numbers(place < 0 ? stored : area, place < 0 ? row : place, v_dim),
                numbers(truth, row, v_dim))
          << "row " << row;
    }
    std::sort(listed.begin(), listed.end());
    for (std::int64_t u = 0; u < length; ++u) ASSERT_EQ(listed[at(u)], u);

    // The step's update, and rubbish for what nobody may read.
    const ValueRows scratch = poisoned_table(rows, v_dim, moments);
    TableState update = random_state(rows, v_dim, 30);
    upload_table(scratch, update);
    TableState updated = area;
    for (std::int64_t u = 0; u < length; ++u) {
      const std::int32_t row = list.rows[at(u)];
      copy_row(truth, row, update, row, v_dim);
      const std::int32_t place = model.place(row);
      if (place >= 0)
        copy_row(updated, place, update, row, v_dim);
      else
        copy_row(stored, row, update, row, v_dim);
    }
    for (const std::int32_t row : model.there()) {
      copy_row(stored, row, update, (row + 1) % rows, v_dim);
    }
    upload_table(staged.values, updated);
    upload_table(table, stored);
  }
  for (int time = 0; time < 2; ++time) {  // twice: the rows are still in the area
    store_rows(context(), table, staged);
    const TableState stored = download_table(table);
    for (std::int64_t row = 0; row < rows; ++row) {
      ASSERT_EQ(numbers(stored, row, v_dim), numbers(truth, row, v_dim)) << "row " << row;
    }
  }
}

TEST_P(StagedRowsOp, EveryRowIsWhereItIsSaidToBeAndUpToDate) {
  for (const std::int64_t v_dim : {1, 19, 64}) {
    for (const std::int64_t capacity : {1, 99, 150, 240, 400}) {
      for (const bool by_place : {false, true}) {
        SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << ", " << capacity << " places, "
                                        << (by_place ? "guests" : "no guests"));
        walk(v_dim, capacity, by_place);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// A row that most steps use stays while many others pass through the cache.
TEST_P(StagedRowsOp, HotRowsOutliveAFlood) {
  const ValueRows table = poisoned_table(rows, 4);
  const StagedRows staged = poisoned_staging(60, table, longest);
  empty_staging(context(), staged);
  TableState state = random_state(rows, 4, 9);
  upload_table(table, state);
  for (int step = 0; step < 30; ++step) {
    std::vector<std::int32_t> picks;
    for (std::int32_t row = 0; row < 20; ++row) {
      if (step < 10 || (row + step) % 3 == 0) picks.push_back(row);
    }
    for (std::int32_t i = 0; i < 30; ++i) {
      picks.push_back(20 + (step * 30 + i) % (static_cast<std::int32_t>(rows) - 20));
    }
    const ExpectedRows list(picks);
    plan_exchange(context(), staged, upload_rows(list, 3));
    exchange_rows(context(), staged, table, ExchangePace::alone);
    const std::vector<std::int32_t> place_of = download_integers(staged.place_of);
    for (std::int32_t row = 0; row < 20; ++row) {
      ASSERT_GE(place_of[at(row)], 0) << "row " << row << ", step " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, StagedRowsOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
