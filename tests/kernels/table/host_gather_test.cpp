// Whoever gathers a row: the same bits in the same place.
#include "kernels/table/host_gather/host_gather.h"

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

// The table is in memory that the processor reads too.
class HostGatherOp : public MemoryOpTest {
 protected:
  ValueRows host_table(std::int64_t rows, std::int64_t v_dim) {
    blocks_.emplace_back(rows * v_dim * 2, GetParam().device == Device::cuda, "the test's table");
    ValueRows table;
    table.rows = rows;
    table.layout.v_dim = v_dim;
    table.hi = reinterpret_cast<std::uint16_t*>(blocks_.back().data());
    for (double value : normal(rows * v_dim)) {
      *table.hi++ = split_float(static_cast<float>(value)).hi;
    }
    table.hi -= rows * v_dim;
    return table;
  }

 private:
  std::deque<HostBlock> blocks_;
};

TEST_P(HostGatherOp, EveryShareGivesTheSameRows) {
  const std::int64_t rows = 3000;
  for (const std::int64_t v_dim : {1, 19, 64, 99, 128}) {
    const ValueRows table = host_table(rows, v_dim);
    const ValueRows other = host_table(rows, v_dim);
    HostGather gather(GetParam().device, 989, v_dim);
    for (const std::vector<std::int32_t>& picks : pick_patterns(989, rows)) {
      const ExpectedRows expected(picks);
      const UniqueRows unique = upload_rows(expected, 989 - expected.count());
      const Tensor reference = poisoned(dtype(), {989, v_dim});
      const Tensor other_reference = poisoned(dtype(), {989, v_dim});
      gather_rows(context(), reference, table, unique, ValuePrecision::bf16, {});
      gather_rows(context(), other_reference, other, unique, ValuePrecision::bf16, {});
      const auto taken = [&](const Tensor& tensor) {
        return download(tensor.rows(0, expected.count()));
      };
      for (const double share : {0.0, 0.3, 1.0}) {
        SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << ", the GPU reads " << share);
        const Tensor out = poisoned(dtype(), {989, v_dim});
        const Tensor other_out = poisoned(dtype(), {989, v_dim});
        gather.set_gpu_share(share);
        gather.gather(context(), out, table, unique);
        gather.gather(context(), other_out, other, unique);
        EXPECT_EQ(taken(out), taken(reference));
        EXPECT_EQ(taken(other_out), taken(other_reference));
        for (const double value : download(out.rows(expected.count(), 989 - expected.count()))) {
          ASSERT_TRUE(std::isnan(value)) << "past the last row";
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, HostGatherOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
