// What several readers of one table have in common: slots, the merge of their picks and gradients,
// and rows that are newer in the staging area than in the table.
#include "model/memory/memory_bank.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

constexpr std::int64_t bank_tokens = 7, picks = 3, rows = 25, v_dim = 4;

ModelConfig bank_config(bool peer = false) {
  ModelConfig config;
  config.dim = v_dim;
  config.n_layers = 4;
  config.vocab_size = 11;
  ProductKeyConfig& memory = config.productkey_args;
  memory.is_enabled = true;
  memory.layers = "1,3";
  memory.mem_n_keys = 5;
  memory.mem_heads = 1;
  memory.mem_knn = picks;
  memory.mem_value_dtype = ValueDtype::fp32;
  memory.peer_variant = peer;
  return config;
}

// A bank of `slots` lookups with random picks, coefficients and vectors in every slot.
struct Bank {
  Runtime runtime{Device::cpu};
  Arena device{Device::cpu, std::int64_t{4} << 20}, host{Device::cpu, std::int64_t{1} << 20};
  MemoryBank bank;
  std::vector<std::int32_t> picked;
  std::vector<double> coefficients, vectors;

  explicit Bank(std::int64_t slots, Placement placement = Placement::device,
                std::int64_t staging_bytes = 0, bool peer = false)
      : bank(1, bank_config(peer), placement, {slots, bank_tokens, picks, staging_bytes, 0, {}},
             DType::f64, true, device, host) {
    runtime.reserve_scratch(1 << 20);
    bank.initialize(context(), 3, 1.0);
    bank.empty_staging(context());
    pick(17);
  }
  const Context& context() { return runtime.context(); }

  void pick(unsigned seed) {
    std::mt19937 random(seed);
    picked.clear();
    coefficients.clear();
    vectors.clear();
    const auto number = [&] { return std::uniform_real_distribution<double>(-1, 1)(random); };
    for (std::int64_t slot = 0; slot < bank.slots(); ++slot) {
      auto* rows_picked = bank.picks(slot, bank_tokens).as<std::int32_t>();
      auto* weights = bank.values().coefficients(slot, bank_tokens).as<double>();
      auto* gradients = bank.values().vectors(slot, bank_tokens).as<double>();
      for (std::int64_t i = 0; i < bank_tokens * picks; ++i) {
        picked.push_back(rows_picked[i] = static_cast<std::int32_t>(random() % (rows - 4)));
        coefficients.push_back(weights[i] = number());
      }
      for (std::int64_t i = 0; i < bank_tokens * v_dim; ++i)
        vectors.push_back(gradients[i] = number());
    }
  }
  std::set<std::int32_t> distinct() const { return {picked.begin(), picked.end()}; }
  std::vector<std::int32_t> step_rows() const {
    const UniqueRows& unique = bank.step_rows();
    const auto* first = unique.rows.as<std::int32_t>();
    return {first, first + *unique.count.as<std::int32_t>()};
  }
  // The lookup of one slot, as a layer makes it.
  UniqueRows lookup(std::int64_t slot, std::vector<std::int32_t>& inverse) {
    inverse.assign(bank_tokens * picks, -1);
    const UniqueRows unique = bank.lookup(
        Tensor(inverse.data(), DType::i32, {static_cast<std::int64_t>(inverse.size())}));
    deduplicate(context(), unique, bank.picks(slot, bank_tokens).reshape({bank_tokens * picks}),
                rows);
    return unique;
  }
};

TEST(MemoryBank, MergesThePicksOfAllItsReaders) {
  Bank three(3);
  three.bank.merge_picks(three.context());
  const std::set<std::int32_t> expected = three.distinct();
  EXPECT_EQ(three.step_rows(), std::vector<std::int32_t>(expected.begin(), expected.end()));
}

TEST(MemoryBank, GradientsAreTheSumOverAllReaders) {
  const std::pair<std::int64_t, Placement> cases[] = {
      {1, Placement::device}, {3, Placement::device}, {1, Placement::host}, {3, Placement::host}};
  for (const auto& [slots, placement] : cases) {
    Bank some(slots, placement);
    std::vector<std::int32_t> inverse;
    if (!some.bank.only_inverse().empty()) some.lookup(0, inverse);  // then that is the step's list
    some.bank.merge_picks(some.context());
    some.bank.reduce_gradients(some.context());
    std::map<std::int32_t, std::vector<double>> expected;
    for (std::size_t p = 0; p < some.picked.size(); ++p) {
      std::vector<double>& sum = expected[some.picked[p]];
      sum.resize(v_dim);
      for (std::size_t c = 0; c < v_dim; ++c) {
        sum[c] += some.coefficients[p] * some.vectors[p / picks * v_dim + c];
      }
    }
    const std::vector<std::int32_t> listed = some.step_rows();
    ASSERT_EQ(listed.size(), expected.size());
    const auto* gradients = some.bank.values().row_gradients().as<double>();
    for (std::size_t u = 0; u < listed.size(); ++u) {
      for (std::size_t c = 0; c < v_dim; ++c) {
        EXPECT_NEAR(gradients[u * v_dim + c], expected[listed[u]][c], 1e-12) << "row " << listed[u];
      }
    }
  }
}

// Of a host table, whose lookups gather; rows in GPU memory are read in place, without a list.
TEST(MemoryBank, OneReadersLookupIsTheStepsList) {
  Bank one(1, Placement::host), two(2, Placement::host), in_place(1);
  EXPECT_TRUE(in_place.bank.only_inverse().empty());
  EXPECT_FALSE(one.bank.only_inverse().empty());
  EXPECT_TRUE(two.bank.only_inverse().empty());
  std::vector<std::int32_t> inverse;
  const UniqueRows unique = one.lookup(0, inverse);
  EXPECT_EQ(unique.rows.data(), one.bank.step_rows().rows.data());
  for (std::size_t p = 0; p < inverse.size(); ++p) {
    EXPECT_EQ(unique.rows.as<std::int32_t>()[inverse[p]], one.picked[p]);
  }
}

TEST(MemoryBank, CountsUse) {
  Bank two(2);
  two.bank.merge_picks(two.context());
  two.bank.measure_usage(two.context());
  std::vector<std::int32_t> counts(rows);
  for (const std::int32_t row : two.picked) ++counts[static_cast<std::size_t>(row)];
  double divergence = 0;
  for (const std::int32_t count : counts) {
    const double share = count / static_cast<double>(two.picked.size());
    if (count > 0) divergence += share * std::log(share * rows);
  }
  EXPECT_NEAR(*two.bank.usage_divergence().as<double>(), divergence, 1e-12);

  // All tokens of both slots, and the first four of each.
  for (const std::int64_t counted : {bank_tokens, std::int64_t{4}}) {
    std::vector<std::int32_t> histogram(rows, 5), expected(rows, 5);
    for (std::size_t p = 0; p < two.picked.size(); ++p) {
      const auto token = static_cast<std::int64_t>(p) / picks % bank_tokens;
      if (token < counted) ++expected[static_cast<std::size_t>(two.picked[p])];
    }
    two.bank.count_usage(two.context(), Tensor(histogram.data(), DType::i32, {rows}), 2, counted);
    EXPECT_EQ(histogram, expected);
  }
}

TEST(MemoryBank, NamesItsTablesAfterTheirOwner) {
  Bank plain(1), peer(1, Placement::device, 0, true);
  ASSERT_EQ(plain.bank.tables().size(), 1U);
  EXPECT_EQ(plain.bank.values().name(), "layers.1.feed_forward.values.weight");
  ASSERT_EQ(peer.bank.tables().size(), 2U);
  EXPECT_EQ(peer.bank.experts().name(), "layers.1.feed_forward.values_u.weight");
  EXPECT_EQ(peer.bank.values().name(), "layers.1.feed_forward.values_v.weight");
  // Each from random numbers of its own.
  EXPECT_FALSE(std::equal(peer.bank.experts().rows().hi,
                          peer.bank.experts().rows().hi + rows * v_dim,
                          peer.bank.values().rows().hi));
}

// A row in the staging area counts, wherever else it stands; gathering takes no scratch memory, of
// which what comes after would overwrite it.
TEST(MemoryBank, ReadsTheNewestCopyOfEveryRow) {
  for (const std::int64_t staging_bytes :
       {std::int64_t{0}, std::int64_t{1500}, std::int64_t{1} << 16}) {
    SCOPED_TRACE(staging_bytes);
    Bank host(2, Placement::host, staging_bytes);
    const MemoryBank& bank = host.bank;
    const std::int64_t room = bank.values().staged().capacity();
    EXPECT_EQ(room > 0, staging_bytes > 0);
    bank.merge_picks(host.context());
    bank.plan_exchange(host.context());
    bank.exchange_rows(host.context(), ExchangePace::alone);
    // An update: every row of the step gets its own number, in the area where it has a place.
    const StagedRows& staged = bank.values().staged();
    const std::int64_t in_area = room == 0 ? 0 : *staged.count.as<std::int32_t>();
    EXPECT_EQ(in_area, std::min<std::int64_t>(room, std::ssize(host.step_rows())));
    EXPECT_EQ(in_area, room == 0 ? 0 : *staged.occupied.as<std::int32_t>());
    std::map<std::int32_t, std::uint16_t> newest;
    for (std::int64_t i = 0; i < in_area; ++i) {
      const std::int32_t row = staged.row_at.as<std::int32_t>()[i];
      newest[row] = static_cast<std::uint16_t>(0x4000 + row);
      std::fill_n(staged.values.hi + i * v_dim, v_dim, newest[row]);
      std::fill_n(reinterpret_cast<std::uint16_t*>(staged.values.records +
                                                   i * staged.values.layout.bytes()),
                  v_dim, std::uint16_t{0});
    }
    host.pick(99);  // the next step looks up others too
    Context without_scratch = host.context();
    without_scratch.scratch = Tensor();
    std::vector<std::int32_t> inverse;
    const UniqueRows unique = host.lookup(1, inverse);
    const std::int64_t count = *unique.count.as<std::int32_t>();
    std::vector<double> gathered(static_cast<std::size_t>(unique.capacity() * v_dim));
    bank.values().gather(without_scratch,
                         Tensor(gathered.data(), DType::f64, {unique.capacity(), v_dim}), unique,
                         {});
    const ValueRows& table = bank.values().rows();
    int from_area = 0;
    for (std::int64_t u = 0; u < count; ++u) {
      const std::int32_t row = unique.rows.as<std::int32_t>()[u];
      const auto found = newest.find(row);
      from_area += found != newest.end() ? 1 : 0;
      const auto* lower =
          reinterpret_cast<std::uint16_t*>(table.records + row * table.layout.bytes());
      for (std::int64_t c = 0; c < v_dim; ++c) {
        const float expected = found != newest.end()
                                   ? join_float(found->second, 0)
                                   : join_float(table.hi[row * v_dim + c], lower[c]);
        EXPECT_EQ(gathered[static_cast<std::size_t>(u * v_dim + c)], expected) << "row " << row;
      }
    }
    EXPECT_EQ(from_area > 0, room > 0);
    // Stored, the table has them too.
    bank.store_rows(host.context());
    for (const auto& [row, hi] : newest) EXPECT_EQ(table.hi[row * v_dim], hi);
  }
}

}  // namespace
}  // namespace memengine
