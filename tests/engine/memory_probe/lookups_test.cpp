// Picks as they stream past, and what is counted of them, against one pass at a time and plain
// sums.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/memory_probe/rows/row_reads.h"
#include "engine/memory_probe/rows/row_use.h"
#include "engine/memory_probe/rows/value_readout.h"
#include "engine/memory_probe/text_probe.h"
#include "tests/engine/memory_probe/probe_testing.h"
#include "tests/expect_input_error.h"

namespace memengine {
namespace {

// One memory layer's picks and weights of a pass, copied.
struct Copied {
  std::vector<std::int32_t> picks;
  std::vector<float> weights;
};

std::vector<Copied> copy_of(const LookupPass& pass) {
  std::vector<Copied> copies;
  const auto count = pass.size() * pass.heads * pass.knn;
  for (const LayerLookup& lookup : pass.memories) {
    Copied copy{{lookup.picks, lookup.picks + count}, {}};
    for (std::int64_t i = 0; i < count; ++i) copy.weights.push_back(lookup.weights[i]);
    copies.push_back(std::move(copy));
  }
  return copies;
}

class MemoryProbe : public testing::TestWithParam<const char*> {
 protected:
  MemoryProbe() { write_probe_model(folder_ / "model", probe_config(GetParam())); }
  TemporaryFolder folder_;
};

TEST_P(MemoryProbe, APassOfAStreamIsThatPassAlone) {
  for (const Device device : probe_devices()) {
    ProbeModel model(probe_options(folder_ / "model", device, 128));
    std::mt19937 random(1);
    std::vector<ScoreRows> passes;
    for (const auto& lengths :
         std::vector<std::vector<int>>{{64, 64}, {1}, {3, 19, 50}, {64}, {7, 7, 7, 7}, {64, 63}}) {
      passes.push_back(random_documents(random, lengths));
    }
    std::size_t given = 0;
    std::vector<std::vector<Copied>> streamed;
    const LookupWishes wishes{.weights = true, .gate = true};
    read_lookups(
        model.model(), wishes,
        [&](ScoreRows& rows) {
          if (given == passes.size()) return false;
          rows = passes[given++];
          return true;
        },
        [&](const LookupPass& pass) {
          EXPECT_EQ(pass.rows.tokens, passes[streamed.size()].tokens);
          streamed.push_back(copy_of(pass));
        });
    ASSERT_EQ(streamed.size(), passes.size());
    for (std::size_t p = 0; p < passes.size(); ++p) {
      read_lookups(model.model(), wishes, passes[p], [&](const LookupPass& pass) {
        const std::vector<Copied> alone = copy_of(pass);
        ASSERT_EQ(alone.size(), 2u);
        for (std::size_t m = 0; m < alone.size(); ++m) {
          EXPECT_EQ(alone[m].picks, streamed[p][m].picks);
          EXPECT_EQ(alone[m].weights, streamed[p][m].weights);
          for (std::size_t list = 0; list + 5 <= alone[m].weights.size(); list += 5) {
            double sum = 0;
            for (std::size_t k = list; k < list + 5; ++k) sum += alone[m].weights[k];
            EXPECT_NEAR(sum, 1, 1e-4);  // a softmax, every row once
            const auto first = alone[m].picks.begin() + static_cast<std::ptrdiff_t>(list);
            EXPECT_EQ(std::set<std::int32_t>(first, first + 5).size(), 5u);
          }
        }
      });
    }
  }
}

TEST_P(MemoryProbe, UseIsWhatPlainCountingGives) {
  ProbeModel model(probe_options(folder_ / "model", Device::cpu, 128));
  std::mt19937 random(2);
  std::vector<ScoreRows> passes = {random_documents(random, {64, 30}),
                                   random_documents(random, {64, 64}),
                                   random_documents(random, {5})};
  std::map<std::pair<std::size_t, std::int32_t>, std::uint32_t> counts;  // (memory, head), row
  for (const ScoreRows& rows : passes) {
    read_lookups(model.model(), {}, rows, [&](const LookupPass& pass) {
      for (std::size_t m = 0; m < 2; ++m) {
        for (std::int64_t i = 0; i < pass.size() * 10; ++i) {
          ++counts[{m * 2 + static_cast<std::size_t>(i / 5 % 2), pass.memories[m].picks[i]}];
        }
      }
    });
  }
  std::size_t given = 0;
  const RowUse use = count_row_use(model, [&](ScoreRows& rows) {
    if (given == passes.size()) return false;
    rows = passes[given++];
    return true;
  });
  EXPECT_EQ(use.tokens(), 64 + 30 + 128 + 5);
  std::int64_t distinct = 0;
  for (std::size_t list = 0; list < 4; ++list) {
    const auto& found = use.counts(list / 2, list % 2);
    for (std::int32_t row = 0; row < 48 * 48; ++row) {
      const auto expected = counts.find({list, row});
      ASSERT_EQ(found[static_cast<std::size_t>(row)],
                expected == counts.end() ? 0 : expected->second);
    }
    const UseFigures figures = use_figures(found, 48, 3);
    EXPECT_EQ(figures.picks, use.tokens() * 5);
    distinct += figures.distinct;
    ASSERT_EQ(figures.top.size(), 3u);
    EXPECT_EQ(figures.top[0].second, *std::max_element(found.begin(), found.end()));
  }
  EXPECT_EQ(distinct, static_cast<std::int64_t>(counts.size()));
}

// Everything about one row from the counts of all, and its readers from the text itself.
TEST_P(MemoryProbe, ARowsReadersAreThoseThatPickIt) {
  ProbeModel model(probe_options(folder_ / "model"));
  const std::string text = "the quick brown fox jumps over the lazy dog, twice over the dog";
  const TextProbe probe = probe_text(model, text, nullptr);
  const std::int64_t row = probe.tokens[20].picks[3].front().row;  // read by memory 1, head 1
  ScoreRows rows;
  for (std::size_t i = 0; i < probe.tokens.size(); ++i) {
    rows.tokens.push_back(probe.tokens[i].token);
    rows.targets.push_back(i + 1 < probe.tokens.size() ? probe.tokens[i + 1].token : 0);
    rows.positions.push_back(static_cast<std::int32_t>(i));
    rows.document_start.push_back(0);
  }
  bool given = false;
  const RowReaders readers = find_row_readers(
                                 model,
                                 [&](ScoreRows& pass) {
                                   pass = rows;
                                   return !std::exchange(given, true);
                                 },
                                 {row}, 1, 100)
                                 .front();
  std::vector<std::int64_t> reads(4);
  std::map<std::int64_t, float> places;
  for (std::size_t i = 0; i < probe.tokens.size(); ++i) {
    for (std::size_t list = 0; list < 4; ++list) {
      if (!model.shares_table() && list < 2) continue;  // another table's row of this number
      for (const PickedRow& pick : probe.tokens[i].picks[list]) {
        if (pick.row != row) continue;
        ++reads[list];
        float& weight = places[static_cast<std::int64_t>(i)];
        weight = std::max(weight, pick.weight);
      }
    }
  }
  EXPECT_EQ(readers.reads, reads);
  ASSERT_EQ(readers.strongest.size(), places.size());
  for (std::size_t i = 0; i < readers.strongest.size(); ++i) {
    const RowRead& read = readers.strongest[i];
    EXPECT_EQ(read.weight, places.at(read.place));
    if (i > 0) {
      EXPECT_LE(read.weight, readers.strongest[i - 1].weight);
    }
    const auto at = static_cast<std::size_t>(read.place);
    EXPECT_EQ(read.token, rows.tokens[at]);
    EXPECT_EQ(read.next, rows.targets[at]);
    EXPECT_EQ(read.before.size(), std::min<std::size_t>(at, 16));
    if (at > 0) {
      EXPECT_EQ(read.before.back(), rows.tokens[at - 1]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Memories, MemoryProbe,
                         testing::Values("mem_share_values: true", "mem_share_values: false",
                                         "peer_variant: true", "mem_query_norm: batchnorm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase_if(name, [](char c) { return std::isalpha(c) == 0; });
                           return name;
                         });

TEST(UseFigures, OfKnownCounts) {
  // 3 x 3 sub-keys; the first half 1 and the second half 0 and 1 are dead.
  const std::vector<std::uint32_t> counts = {0, 0, 6, 0, 0, 0, 0, 0, 2};
  const UseFigures figures = use_figures(counts, 3, 5);
  EXPECT_EQ(figures.picks, 8);
  EXPECT_EQ(figures.distinct, 2);
  EXPECT_EQ(figures.dead_first, 1);
  EXPECT_EQ(figures.dead_second, 2);
  EXPECT_NEAR(figures.entropy, -(0.75 * std::log(0.75) + 0.25 * std::log(0.25)), 1e-12);
  EXPECT_NEAR(figures.kl_to_uniform, std::log(9.0) - figures.entropy, 1e-12);
  EXPECT_EQ(figures.top, (std::vector<std::pair<std::int64_t, std::int64_t>>{{2, 6}, {8, 2}}));
  EXPECT_EQ(figures.top_thousandth, 6);
  const UseGrid grid = use_grid(counts, 3, 2);
  EXPECT_EQ(grid.side, 2);
  EXPECT_EQ(grid.cells, (std::vector<double>{0, 6, 0, 2}));
}

// Without a projection the read-out of a value is the head's answer to it, normalised.
TEST(ValueReadout, OfAValueThatIsATokensDirection) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config("swilu_projection: false"));
  ProbeModel model(probe_options(folder / "model"));
  ValueReadout readout(model);
  const std::vector<float> value = readout.value(1, 77);
  const std::vector<float> head = parameter(model, "output.weight");
  double squares = 0;
  for (const float x : value) squares += static_cast<double>(x) * x;
  std::vector<double> logits(258);
  double mean = 0;
  for (std::size_t token = 0; token < 258; ++token) {
    for (std::size_t c = 0; c < 32; ++c) {
      logits[token] += static_cast<double>(head[token * 32 + c]) * value[c];
    }
    logits[token] /= std::sqrt(squares / 32);
    mean += logits[token] / 258;
  }
  const auto strongest = readout.strongest(1, 77, {}, 4);
  ASSERT_EQ(strongest.size(), 4u);
  std::vector<double> sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(strongest[i].second, sorted[i] - mean, 1e-4);
    EXPECT_NEAR(logits[static_cast<std::size_t>(strongest[i].first)], sorted[i], 1e-4);
  }
}

TEST(ProbeModel, ModelsWithoutMemoryAndTextsThatAreTooLongAreRefused) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config());
  ProbeModel model(probe_options(folder / "model"));
  expect_input_error("at most 64", [&] { probe_text(model, std::string(100, 'x'), nullptr); });
  expect_input_error("empty", [&] { probe_text(model, "", nullptr); });
  std::string dense = probe_config();
  dense.replace(dense.find("is_enabled: true"), 16, "is_enabled: false");
  write_probe_model(folder / "dense", dense);
  expect_input_error("no memory layers", [&] { ProbeModel(probe_options(folder / "dense")); });
}

}  // namespace
}  // namespace memengine
