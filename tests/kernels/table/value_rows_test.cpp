// The value table: initial state, record layout, and the gather with lazy decay.
#include "kernels/table/value_rows.h"

#include "kernels/runtime/philox.h"
#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

class ValueRowsOp : public MemoryOpTest {};

TEST(RecordLayout, PartsAreAlignedAndDoNotOverlap) {
  for (const DType moments : {DType::f32, DType::bf16}) {
    for (const std::int64_t v_dim : {1, 3, 19, 64, 99, 128, 989}) {
      const RecordLayout layout{v_dim, moments};
      const std::int64_t moment_bytes = v_dim * element_bytes(moments);
      EXPECT_GE(layout.m_offset(), 2 * v_dim);
      EXPECT_GE(layout.v_offset(), layout.m_offset() + moment_bytes);
      EXPECT_GE(layout.step_offset(), layout.v_offset() + moment_bytes);
      EXPECT_GE(layout.bytes(), layout.step_offset() + 4);
      for (const std::int64_t offset : {layout.m_offset(), layout.v_offset(), layout.bytes()}) {
        EXPECT_EQ(offset % 16, 0);
      }
      EXPECT_EQ(layout.step_offset() % 4, 0);
    }
  }
}

TEST_P(ValueRowsOp, InitialWeightsAreTheStreamsNormalNumbers) {
  for (const std::int64_t v_dim : {1, 3, 19, 64, 99}) {
    for (const DType moments : {DType::f32, DType::bf16}) {
      const std::int64_t rows = 50;
      const std::int64_t first = 7;
      const std::int64_t count = 31;
      const ValueRows table = poisoned_table(rows, v_dim, moments);
      const TableState before = download_table(table);
      initialize_rows(context(), table, first, count, 42, random_stream("values"), 0.3);
      const TableState state = download_table(table);
      for (std::int64_t row = 0; row < rows; ++row) {
        const bool fresh = row >= first && row < first + count;
        EXPECT_EQ(state.last_step[at(row)], fresh ? 0 : before.last_step[at(row)]);
        for (std::int64_t i = 0; i < v_dim; ++i) {
          const std::size_t element = at(row * v_dim + i);
          if (!fresh) {
            EXPECT_TRUE(std::isnan(state.weights[element]));
            continue;
          }
          float normal[4];
          philox_normal4(42, random_stream("values"), element / 4, normal);
          ASSERT_EQ(state.weights[element], 0.3F * normal[element % 4]) << row << ", " << i;
          EXPECT_EQ(state.m[element], 0);
          EXPECT_EQ(state.v[element], 0);
        }
      }
    }
  }
}

TEST_P(ValueRowsOp, InitialWeightsHaveTheWantedDeviation) {
  const ValueRows table = poisoned_table(2000, 64);
  initialize_rows(context(), table, 0, 2000, 1, 2, 0.125);
  double sum = 0;
  double square_sum = 0;
  for (const double weight : download_table(table).weights) {
    sum += weight;
    square_sum += weight * weight;
  }
  EXPECT_NEAR(sum / 128000, 0, 0.125 * 0.015);
  EXPECT_NEAR(std::sqrt(square_sum / 128000), 0.125, 0.125 * 0.01);
}

TEST_P(ValueRowsOp, GathersRowsInBothPrecisionsDecayedToNow) {
  for (const std::int64_t v_dim : {1, 19, 64, 99, 256}) {
    const std::int64_t rows = 300;
    const std::int64_t now = 12;
    const ValueRows table = poisoned_table(rows, v_dim, v_dim == 64 ? DType::bf16 : DType::f32);
    TableState state = random_state(rows, v_dim, static_cast<std::uint32_t>(now));
    upload_table(table, state);
    const ValueRows newer_table = poisoned_table(rows, v_dim, table.layout.moments);
    TableState newer_state = random_state(rows, v_dim, static_cast<std::uint32_t>(now));
    upload_table(newer_table, newer_state);
    std::vector<double> log_decay(at(now + 5));
    for (std::size_t t = 1; t < log_decay.size(); ++t) {
      log_decay[t] = log_decay[t - 1] - 0.01 * static_cast<double>(t);
    }
    const Tensor decay_table = upload(DType::f64, {now + 5}, log_decay);
    const Tensor step = upload(DType::i32, {1}, {static_cast<std::int32_t>(now)});
    for (const std::vector<std::int32_t>& picks : pick_patterns(99, rows)) {
      const ExpectedRows expected(picks);
      const UniqueRows unique = upload_rows(expected, 4);
      for (const ValuePrecision precision : {ValuePrecision::bf16, ValuePrecision::fp32}) {
        for (const bool decayed : {false, true}) {
          SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << (decayed ? ", decayed" : ""));
          std::vector<double> reference;
          for (const std::int32_t row : expected.rows) {
            const double factor =
                decayed ? std::exp(log_decay[at(now)] - log_decay[state.last_step[at(row)]]) : 1;
            for (std::int64_t i = 0; i < v_dim; ++i) {
              const double weight = state.weights[at(row * v_dim + i)];
              const float hi = join_float(split_float(static_cast<float>(weight)).hi, 0);
              reference.push_back(factor * (precision == ValuePrecision::bf16 ? hi : weight));
            }
          }
          const Tensor out = poisoned(dtype(), {unique.capacity(), v_dim});
          gather_rows(context(), out, table, unique, precision,
                      decayed ? LazyDecay{decay_table, step} : LazyDecay{});
          expect_close(download(out.rows(0, expected.count())), reference);
          for (const double value : download(out.rows(expected.count(), 4))) {
            EXPECT_TRUE(std::isnan(value)) << "past the last row";
          }

          // Every third row has a newer copy, in a table of as many rows in another order.
          std::vector<std::int32_t> places(at(unique.capacity()), -1);
          std::vector<double> newest = reference;
          std::vector<double> only_newer(reference.size(), std::nan(""));
          for (std::int64_t u = 0; u < expected.count(); u += 3) {
            places[at(u)] = static_cast<std::int32_t>(u * 7 % rows);
            const std::int64_t place = places[at(u)];
            const double factor =
                decayed ? std::exp(log_decay[at(now)] - log_decay[newer_state.last_step[at(place)]])
                        : 1;
            for (std::int64_t i = 0; i < v_dim; ++i) {
              const double weight = newer_state.weights[at(place * v_dim + i)];
              const float hi = join_float(split_float(static_cast<float>(weight)).hi, 0);
              newest[at(u * v_dim + i)] =
                  factor * (precision == ValuePrecision::bf16 ? hi : weight);
              only_newer[at(u * v_dim + i)] = newest[at(u * v_dim + i)];
            }
          }
          const NewerRows newer = {newer_table, upload(DType::i32, {unique.capacity()}, places)};
          const LazyDecay decay = decayed ? LazyDecay{decay_table, step} : LazyDecay{};
          gather_rows(context(), out, table, unique, precision, decay, newer);
          expect_close(download(out.rows(0, expected.count())), newest);
          const Tensor overlaid = poisoned(dtype(), {unique.capacity(), v_dim});
          gather_newer_rows(context(), overlaid, newer, unique, precision, decay);
          const std::vector<double> actual = download(overlaid);
          const std::vector<double> gathered = download(out);
          for (std::size_t i = 0; i < only_newer.size(); ++i) {
            if (!std::isnan(only_newer[i])) {
              EXPECT_EQ(actual[i], gathered[i]);
            } else {
              EXPECT_TRUE(std::isnan(actual[i])) << "has no newer copy";
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ValueRowsOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
