// Several ranks train the model that one trains on the same global batch: 12 sequences, whoever has
// them. The ranks are threads here; under mpirun they are processes.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/training/training_testing.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

constexpr std::int64_t global_batch = 12;

struct Variant {
  std::string name;
  std::vector<std::string> overrides;
};

const std::vector<Variant> variants = {
    {"dense", {"model.productkey_args.is_enabled=false"}},
    {"one_layer", {}},
    {"unshared_layers",
     {"model.productkey_args.layers=\"0,2\"", "model.n_layers=3",
      "model.productkey_args.mem_share_values=false"}},
    {"shared_layers",
     {"model.productkey_args.layers=\"0,2\"", "model.n_layers=3",
      "model.productkey_args.mem_share_values=true"}},
    {"peer", {"model.productkey_args.peer_variant=true"}},
    {"gated",
     {"model.productkey_args.mem_gated=true", "model.productkey_args.swilu_projection=false",
      "model.productkey_args.mem_query_norm=none"}},
    {"rows_read_in_fp32", {"model.productkey_args.mem_value_dtype=fp32"}},
    {"lazy_decay", {"model.productkey_args.value_weight_decay=0.3"}},
    {"dense_adamw",
     {"model.productkey_args.value_optimizer=dense_adamw",
      "model.productkey_args.value_weight_decay=0.1"}},
    {"bf16_moments", {"model.productkey_args.value_moments=bf16"}},
    {"row_moment", {"model.productkey_args.value_second_moment=row"}},
    {"masked_documents", {"model.document_mask=true"}},
    {"accumulated", {"grad_acc_steps=2"}},
    {"accumulated_shared_peer",
     {"grad_acc_steps=2", "model.productkey_args.layers=\"0,2\"", "model.n_layers=3",
      "model.productkey_args.mem_share_values=true", "model.productkey_args.peer_variant=true"}},
    {"clipped", {"optim.clip=0.05", "optim.value_clip=0.01"}},
    {"host_table", {"model.productkey_args.zero_copy=true"}},
    // Fewer places than rows are used, so that rows come and go.
    {"staged", {"model.productkey_args.zero_copy=true", "model.productkey_args.cache_gib=0.00001"}},
    {"staged_shared",
     {"model.productkey_args.zero_copy=true", "model.productkey_args.cache_gib=0.00003",
      "grad_acc_steps=2", "model.productkey_args.layers=\"0,2\"", "model.n_layers=3",
      "model.productkey_args.mem_share_values=true"}},
    {"staged_peer_in_fp32",
     {"model.productkey_args.zero_copy=true", "model.productkey_args.cache_gib=0.00002",
      "model.productkey_args.mem_value_dtype=fp32", "model.productkey_args.peer_variant=true"}},
    {"staged_with_decay",
     {"model.productkey_args.zero_copy=true", "model.productkey_args.cache_gib=0.00001",
      "model.productkey_args.value_weight_decay=0.3"}},
    // Each rank has the moments of some weights.
    {"sharded_moments", {"distributed.zero1=true", "optim.clip=0.05"}},
};

// All that is told of the steps of a run.
struct Told {
  std::vector<double> losses, dense_norms, value_norms, divergences;
  std::vector<std::int64_t> unique_rows, rows_ever_used, picks, cached, tokens;
  std::vector<double> validation;
};

struct Recorder : TrainingListener {
  Told told;
  void stepped(const StepReport& report) override {
    told.losses.push_back(report.loss);
    told.dense_norms.push_back(report.dense_gradient_norm);
    told.value_norms.push_back(report.value_gradient_norm);
    told.tokens.push_back(report.total_tokens);
    for (const BankUsage& bank : report.banks) {
      told.unique_rows.push_back(bank.unique_rows);
      told.rows_ever_used.push_back(bank.rows_ever_used);
      told.picks.push_back(bank.picks);
      told.divergences.push_back(bank.divergence);
      if (bank.cache) told.cached.push_back(bank.cache->filled);
    }
  }
  void validated(const ValidationReport& report) override {
    told.validation.push_back(report.loss);
    for (const BankUsage& bank : report.banks) {
      told.validation.push_back(static_cast<double>(bank.unique_rows));
      told.validation.push_back(static_cast<double>(bank.picks));
      told.validation.push_back(bank.divergence);
    }
  }
};

class RanksTrain : public SmallRuns {
 protected:
  RanksTrain() {
    write_byte_shard(folder_ / "data/train_000000.bin", random_walk(9000, 250));
    write_byte_shard(folder_ / "data/val_000000.bin", random_walk(16 * 29 + 1));
  }

  // What rank 0 was told.
  Told train(Communicator& ranks, const Variant& variant, ModelDtype dtype,
             const std::vector<std::string>& more = {}) {
    std::vector<std::string> overrides = {
        "steps=50", "checkpoint.dump.every=0", "data.load_async=false",
        "data.batch_size=" + std::to_string(global_batch / ranks.size()),
        "model.productkey_args.value_weight_decay=0"};
    overrides.insert(overrides.end(), variant.overrides.begin(), variant.overrides.end());
    overrides.insert(overrides.end(), more.begin(), more.end());
    RunConfig run = config(
        variant.name + "_" + std::to_string(ranks.size()) + "_" + std::to_string(ranks.rank()),
        overrides);
    run.distributed.model_dtype = dtype;
    Recorder recorder;
    Trainer trainer(run, {&recorder}, FileSystem::real(), &ranks);
    trainer.run([] { return false; });
    return recorder.told;
  }
};

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double scale = std::max({std::abs(a[i]), std::abs(b[i]), 1e-30});
    const double difference = std::abs(a[i] - b[i]) / scale;
    most = std::isnan(difference) ? INFINITY : std::max(most, difference);
  }
  return most;
}

// How many ranks, and whether they read one another's memory.
struct Ranks {
  int size;
  bool share_memory = false;
};

class RanksTrainAlike : public RanksTrain, public testing::WithParamInterface<Ranks> {
 protected:
  void on_ranks(const std::function<void(Communicator&)>& body) {
    memengine::on_ranks(GetParam().size, body, GetParam().share_memory);
  }
};

TEST_P(RanksTrainAlike, InDoubleToNineDigits) {
  for (const Variant& variant : variants) {
    Communicator alone;
    const Told one = train(alone, variant, ModelDtype::fp64);
    on_ranks([&](Communicator& ranks) {
      const Told told = train(ranks, variant, ModelDtype::fp64);
      if (ranks.rank() != 0) return;
      EXPECT_EQ(one.losses.size(), 50U);
      EXPECT_LT(one.losses.back(), one.losses.front());
      EXPECT_LT(largest_difference(told.losses, one.losses), 1e-9) << variant.name;
      EXPECT_LT(largest_difference(told.dense_norms, one.dense_norms), 1e-7) << variant.name;
      EXPECT_LT(largest_difference(told.value_norms, one.value_norms), 1e-7) << variant.name;
      // What is counted is the same; a divergence near 0 is a difference of large numbers.
      EXPECT_EQ(told.unique_rows, one.unique_rows) << variant.name;
      EXPECT_EQ(told.rows_ever_used, one.rows_ever_used) << variant.name;
      EXPECT_EQ(told.picks, one.picks) << variant.name;
      EXPECT_EQ(told.tokens, one.tokens) << variant.name;
      EXPECT_LT(largest_difference(told.divergences, one.divergences), 1e-9) << variant.name;
    });
  }
}

TEST_P(RanksTrainAlike, InFloatToFourDigits) {
  for (const Variant& variant : variants) {
    const std::vector<std::string> rates = {"optim.lr=3e-4",
                                            "model.productkey_args.value_fixed_lr=1e-3"};
    Communicator alone;
    const Told one = train(alone, variant, ModelDtype::fp32, rates);
    on_ranks([&](Communicator& ranks) {
      const Told told = train(ranks, variant, ModelDtype::fp32, rates);
      if (ranks.rank() != 0) return;
      EXPECT_LT(largest_difference(told.losses, one.losses), 1e-4) << variant.name;
    });
  }
}

TEST_P(RanksTrainAlike, HeldOutDataIsReadOnce) {
  // 29 windows: the last round has none for some ranks, and one batch is short.
  const Variant variant{"held_out", {"model.productkey_args.zero_copy=true"}};
  const std::vector<std::string> more = {"steps=6", "validation.every=3", "data.batch_size=4"};
  on_ranks([&](Communicator& ranks) {
    Communicator alone;
    // The same global batch: one rank has it in as many parts as there are ranks.
    std::vector<std::string> parts = more;
    parts.push_back("grad_acc_steps=" + std::to_string(ranks.size()));
    parts.push_back("model.productkey_args.mem_query_norm=none");
    std::vector<std::string> ours = more;
    ours.push_back("model.productkey_args.mem_query_norm=none");
    const Told told = train(ranks, variant, ModelDtype::fp32, ours);
    if (ranks.rank() != 0) return;
    const Told one = train(alone, {"held_out_alone", variant.overrides}, ModelDtype::fp32, parts);
    ASSERT_EQ(one.validation.size(), 8U);
    EXPECT_LT(largest_difference(told.validation, one.validation), 1e-5);
  });
}

TEST_P(RanksTrainAlike, TwiceIsTheSameToTheBit) {
  for (const Variant& variant : {variants[0], variants[1], variants[17], variants[18]}) {
    on_ranks([&](Communicator& ranks) {
      const Told first = train(ranks, variant, ModelDtype::fp32);
      ranks.barrier();
      const Told second =
          train(ranks, {variant.name + "_again", variant.overrides}, ModelDtype::fp32);
      EXPECT_EQ(first.losses, second.losses) << variant.name;
      EXPECT_EQ(first.dense_norms, second.dense_norms) << variant.name;
      EXPECT_EQ(first.value_norms, second.value_norms) << variant.name;
      EXPECT_EQ(first.divergences, second.divergences) << variant.name;
    });
  }
}

TEST_P(RanksTrainAlike, WhoHasTheMomentsIsTheSameToTheBit) {
  for (const std::string grad_acc_steps : {"1", "2"}) {
    const std::vector<std::string> more = {"grad_acc_steps=" + grad_acc_steps};
    on_ranks([&](Communicator& ranks) {
      const Told all = train(ranks, {"all" + grad_acc_steps, {}}, ModelDtype::fp32, more);
      ranks.barrier();
      const Told some = train(ranks, {"some" + grad_acc_steps, {"distributed.zero1=true"}},
                              ModelDtype::fp32, more);
      EXPECT_EQ(all.losses, some.losses);
      EXPECT_EQ(all.dense_norms, some.dense_norms);
      EXPECT_EQ(all.value_norms, some.value_norms);
    });
  }
}

// Which rows are the best of a step would be a question to all owners.
TEST_F(RanksTrain, SeveralChooseNoRows) {
  on_ranks(2, [&](Communicator& ranks) {
    try {
      train(ranks, {"chooses", {"optim.rows_per_step=3"}}, ModelDtype::fp32);
      FAIL() << "rank " << ranks.rank() << " chose rows";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::input);
      EXPECT_NE(std::string(error.what()).find("optim.rows_per_step=3: several ranks"),
                std::string::npos)
          << error.what();
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, RanksTrainAlike,
                         testing::Values(Ranks{1}, Ranks{2}, Ranks{3}, Ranks{4}, Ranks{2, true},
                                         Ranks{3, true}, Ranks{4, true}),
                         [](const auto& info) {
                           return std::to_string(info.param.size) +
                                  (info.param.share_memory ? "SharingMemory" : "");
                         });

// Does all that another does, but for one exchange between devices.
class LeavesOut : public Communicator {
 public:
  LeavesOut(Communicator& all, std::int64_t call) : all_(all), call_(call) {}

  int rank() const override { return all_.rank(); }
  int size() const override { return all_.size(); }
  void all_reduce_sum(const Context& context, Tensor values) override {
    if (calls++ != call_) all_.all_reduce_sum(context, values);
  }
  void all_gather(const Context& context, Tensor all, Tensor mine) override {
    if (calls++ != call_) all_.all_gather(context, all, mine);
  }
  void all_to_all(const Context& context, void* received,
                  std::span<const std::int64_t> received_bytes, const void* sent,
                  std::span<const std::int64_t> sent_bytes) override {
    if (calls++ != call_) all_.all_to_all(context, received, received_bytes, sent, sent_bytes);
  }
  void broadcast(const Context& context, Tensor values, int root) override {
    if (calls++ != call_) all_.broadcast(context, values, root);
  }
  std::vector<std::byte> gather_bytes(std::span<const std::byte> mine) override {
    return all_.gather_bytes(mine);
  }
  bool shares_memory() const override { return all_.shares_memory(); }
  std::vector<void*> peers(void* mine) override { return all_.peers(mine); }
  void meet(const Context& context) override { all_.meet(context); }
  void read_peers(const Context&, double, const std::function<void()>& exchange) override {
    if (calls++ != call_) exchange();
  }

  std::int64_t calls = 0;

 private:
  Communicator& all_;
  std::int64_t call_;
};

class RanksNotice : public RanksTrain {
 protected:
  // What four steps tell, and how many exchanges had been made after each.
  Told train_without(Communicator& ranks, const Variant& variant, std::int64_t call,
                     std::vector<std::int64_t>* marks) {
    LeavesOut some(ranks, call);
    std::vector<std::string> overrides = variant.overrides;
    overrides.insert(overrides.end(),
                     {"checkpoint.dump.every=0", "data.load_async=false", "data.batch_size=4",
                      "model.productkey_args.value_weight_decay=0", "steps=4", "optim.clip=0.1",
                      "optim.warmup=0", "optim.value_clip=0.01"});
    RunConfig run =
        config(variant.name + std::to_string(call) + "_" + std::to_string(ranks.rank()), overrides);
    run.distributed.model_dtype = ModelDtype::fp64;
    Recorder recorder;
    Trainer trainer(run, {&recorder}, FileSystem::real(), &some);
    trainer.run([&] {
      if (marks != nullptr) marks->push_back(some.calls);
      return false;
    });
    return recorder.told;
  }
  // Of all exchanges of a step.
  void expect_noticed(const Variant& variant, bool share_memory) {
    constexpr int size = 3;
    std::vector<std::int64_t> marks;
    Told whole;
    on_ranks(
        size,
        [&](Communicator& ranks) {
          std::vector<std::int64_t> of_rank;
          const Told told = train_without(ranks, variant, -1, &of_rank);
          if (ranks.rank() != 0) return;
          whole = told;
          marks = of_rank;
        },
        share_memory);
    ASSERT_EQ(marks.size(), 5U);
    ASSERT_GT(marks[2], marks[1]);
    // All of the second step, and what is told of the first.
    for (std::int64_t call = marks[1]; call < marks[2]; ++call) {
      bool noticed = false;
      try {
        on_ranks(
            size,
            [&](Communicator& ranks) {
              const Told told = train_without(ranks, variant, call, nullptr);
              if (ranks.rank() != 0) return;
              noticed = largest_difference(told.losses, whole.losses) > 1e-9 ||
                        largest_difference(told.dense_norms, whole.dense_norms) > 1e-7 ||
                        largest_difference(told.value_norms, whole.value_norms) > 1e-7 ||
                        told.unique_rows != whole.unique_rows || told.picks != whole.picks ||
                        largest_difference(told.divergences, whole.divergences) > 1e-9;
            },
            share_memory);
      } catch (const Error&) {
        noticed = true;  // parts of other lengths than were expected
      }
      EXPECT_TRUE(noticed) << variant.name << ": exchange " << call - marks[1] << " of "
                           << marks[2] - marks[1] << " is of no use";
    }
  }
};

TEST_F(RanksNotice, WhenOneExchangeIsLeftOut) {
  if (mpi_ranks() != nullptr) GTEST_SKIP() << "a rank that fails would end all";
  for (const Variant& variant :
       {variants[0], variants[1], variants[13], variants[17], variants.back()}) {
    expect_noticed(variant, false);
  }
  for (const Variant& variant : {variants[1], variants[13], variants[17], variants[18]}) {
    expect_noticed(variant, true);
  }
}

}  // namespace
}  // namespace memengine
