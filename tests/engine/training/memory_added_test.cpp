// Memory added to a model that exists: what is taken, what begins silent, what is trained.
#include <map>
#include <set>
#include <sstream>

#include "engine/memory_probe/rows/background.h"
#include "engine/model_files/weight_reader.h"
#include "tests/engine/training/training_testing.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using Words = std::vector<std::string>;

class MemoryAdded : public SmallRuns {
 protected:
  MemoryAdded() { write_byte_shard(folder_ / "data/val_000000.bin", random_walk(200)); }

  static Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::string init(const std::string& run) const {
    return "checkpoint.init_ckpt_path=" + (folder_ / run).string();
  }
  static std::string joined_words(const Words& words) {
    std::string text;
    for (const std::string& word : words) text += word + " ";
    return text;
  }
  // All weights of a run's newest checkpoint.
  std::map<std::string, std::vector<float>> weights(const std::string& run) const {
    const WeightReader reader = open_weights(find_model(folder_ / run));
    std::map<std::string, std::vector<float>> all;
    for (const std::string& name : reader.names) {
      std::vector<float>& numbers = all[name];
      numbers.resize(reader.find(name)->bytes / 4);
      reader.read(name, 0, std::as_writable_bytes(std::span(numbers)));
    }
    return all;
  }
  double first_validation(const std::string& run, const Words& overrides) {
    TrainingRecord record;
    Trainer trainer(config(run, with(overrides, {"validation.every=1"})), {&record});
    return trainer.validate().loss;
  }
  // Rows of the table that differ between two sets of weights.
  static std::set<std::size_t> changed_rows(const std::vector<float>& a,
                                            const std::vector<float>& b, std::size_t columns) {
    std::set<std::size_t> rows;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] != b[i]) rows.insert(i / columns);
    }
    return rows;
  }

  const Words dense_ = {"model.productkey_args.is_enabled=false"};
  const Words beside_ = {"model.productkey_args.placement=beside"};
  static constexpr const char* table_ = "layers.1.feed_forward.values.weight";
};

TEST_F(MemoryAdded, BeginsSilentBesideWhatWasGiven) {
  train("dense", dense_);
  const TrainingRecord record = train("added", with(beside_, {init("dense"), "steps=1"}));
  EXPECT_EQ(error, "");
  EXPECT_TRUE(record.was_told("new: layers.1.feed_forward ("));
  EXPECT_TRUE(record.was_told("the memory of layer 1 begins with an output of zero"));
  EXPECT_FALSE(record.was_told("left over"));
  const double before = first_validation("a", with(dense_, {init("dense")}));
  EXPECT_EQ(first_validation("b", with(beside_, {init("dense")})), before);
  EXPECT_EQ(first_validation("c", with(beside_, {init("dense"), "optim.train=memory"})), before);
  // Instead of the feed-forward it cannot, and begins at random.
  const TrainingRecord replaced = train("replaced", {init("dense"), "steps=1"});
  EXPECT_TRUE(replaced.was_told("left over: layers.1.feed_forward (3 tensors)"));
  EXPECT_FALSE(replaced.was_told("output of zero"));
  EXPECT_NE(first_validation("d", {init("dense")}), before);
}

TEST_F(MemoryAdded, OnlyWhatIsTrainedChanges) {
  train("dense", dense_);
  const Words memory = with(beside_, {"optim.train=memory", init("dense")});
  const TrainingRecord whole = train("memory", memory);
  ASSERT_EQ(error, "");
  const auto given = weights("dense"), taught = weights("memory");
  for (const auto& [name, numbers] : given) EXPECT_EQ(taught.at(name), numbers) << name;
  // And it learns: text that is not in the data has become likelier than it was to the dense model.
  EXPECT_LT(first_validation("after", with(beside_, {init("memory")})),
            first_validation("before", with(dense_, {init("dense")})));

  const Words values = with(beside_, {"optim.train=values", init("memory")});
  const TrainingRecord rows = train("values", values);
  ASSERT_EQ(error, "");
  EXPECT_EQ(rows.last.dense_gradient_norm, 0);
  EXPECT_GT(rows.last.value_gradient_norm, 0);
  for (const auto& [name, numbers] : weights("values")) {
    if (name == table_)
      EXPECT_NE(taught.at(name), numbers);
    else
      EXPECT_EQ(taught.at(name), numbers) << name;
  }
  // A run that was stopped is the same run; another part to train is another run.
  for (const auto& [run, words] : {std::pair("m", memory), std::pair("v", values)}) {
    const TrainingRecord first = train(run, words, 6);
    const TrainingRecord second = train(run, words);
    EXPECT_EQ(second.resumed, 6);
    EXPECT_EQ(joined(first.losses, second.losses), run[0] == 'm' ? whole.losses : rows.losses);
  }
  train("m", with(memory, {"optim.train=all"}));
  EXPECT_NE(error.find("optim.train is all, was memory"), std::string::npos) << error;
}

TEST_F(MemoryAdded, RefusesWhatCannotLearn) {
  train("dense", dense_);
  train("values", with(beside_, {"optim.train=values", init("dense")}));
  EXPECT_NE(error.find("the output projection of the memory in layer 1 is zero"), std::string::npos)
      << error;
  train("no memory", with(dense_, {"optim.train=memory"}));
  EXPECT_NE(error.find("optim.train=memory trains memory layers, and the model has none"),
            std::string::npos)
      << error;
  train("uncounted", {init("dense"), "optim.rows_per_step=3"});
  EXPECT_NE(error.find("memengine memory count"), std::string::npos) << error;
  train("from nothing", {"optim.rows_per_step=3"});
  EXPECT_NE(error.find("checkpoint.init_ckpt_path"), std::string::npos) << error;
}

// One line that says how to make it the same size; who does what it says can go on.
TEST_F(MemoryAdded, RefusesAModelOfAnotherSizeAndSaysWhichKeysMakeItFit) {
  const Words small_memory = {
      "model.productkey_args.mem_n_keys=8", "model.productkey_args.mem_heads=2",
      "model.productkey_args.mem_k_dim=4", "model.productkey_args.mem_v_dim=6"};
  train("given", with(beside_, with(small_memory, {"steps=1", "model.ffn_dim_multiplier=2"})));
  ASSERT_EQ(error, "");
  const auto same =
      with(beside_, with(small_memory, {init("given"), "steps=1", "model.ffn_dim_multiplier=2"}));
  int number = 0;
  const auto refused = [&](const Words& other, const std::string& what) {
    const std::string run = "other" + std::to_string(++number);
    train(run, with(same, other));
    EXPECT_NE(error.find(what), std::string::npos) << error;
    const std::size_t advice = error.find("; set ");
    ASSERT_NE(advice, std::string::npos) << error;
    Words followed = with(same, other);
    std::istringstream words(error.substr(advice + 6));
    for (std::string word; words >> word;) followed.push_back(word);
    train(run, followed);
    EXPECT_EQ(error, "") << joined_words(followed);
  };
  refused({"model.dim=16"}, "dim is 8 there and 16 here");
  refused({"model.vocab_size=300"}, "vocab_size is 258 there and 300 here");
  refused({"model.n_kv_heads=1"}, "n_kv_heads is 2 there and 1 here");
  refused({"model.head_dim=6"}, "head_dim is 4 there and 6 here");
  refused({"model.multiple_of=32"}, "the feed-forward is 48 wide there and 64 here");
  refused({"model.ffn_dim_multiplier=null"}, "the feed-forward is 48 wide there and 24 here");
  refused({"model.productkey_args.mem_n_keys=16", "model.productkey_args.mem_v_dim=-1"},
          "productkey_args.mem_n_keys is 8 there and 16 here, productkey_args.mem_v_dim is 6 there "
          "and -1 here");
  refused({"model.productkey_args.mem_k_dim=8", "model.productkey_args.mem_heads=1"},
          "productkey_args.mem_heads is 2 there and 1 here");
}

// Fewer layers are another model, which says what it left.
TEST_F(MemoryAdded, TakesTheLayersThatItHas) {
  train("deep", with(dense_, {"model.n_layers=3", "steps=1"}));
  const TrainingRecord record = train("shallow", with(dense_, {init("deep"), "steps=1"}));
  EXPECT_EQ(error, "");
  EXPECT_TRUE(record.was_told("left over: layers.2.attention"));
  EXPECT_TRUE(record.was_told("model.n_layers is 2 here and 3 there"));
  const TrainingRecord biased =
      train("biased", with(dense_, {init("deep"), "steps=1", "model.qkv_bias=true"}));
  EXPECT_TRUE(biased.was_told("model.qkv_bias is true here and false there"));
}

TEST_F(MemoryAdded, SaysWhereAKeyMakesItAnotherModel) {
  train("dense", dense_);
  const TrainingRecord record =
      train("other", with(dense_, {init("dense"), "model.rope_theta=500", "steps=1"}));
  EXPECT_TRUE(record.was_told("model.rope_theta is 500 here and 10000 there"));
}

TEST_F(MemoryAdded, UntiedOutputIsNotMadeUp) {
  train("tied", with(dense_, {"model.weight_tying=true"}));
  train("untied", with(dense_, {init("tied")}));
  EXPECT_NE(error.find("set model.weight_tying=true"), std::string::npos) << error;
}

// Descent and Adam, each on the few rows that the background does not read.
TEST_F(MemoryAdded, SparseFinetuningTouchesTheChosenRows) {
  train("base", {"steps=8"});
  const auto base = weights("base");
  // As if a background of 20 batches had read every row from 64 on, always.
  std::vector<std::int32_t> frequency(256, 20);
  std::fill_n(frequency.begin(), 64, 0);
  const auto newest = find_model(folder_ / "base").folder;
  write_document_frequencies(newest, {{table_, 20, frequency}});
  for (const std::string optimizer : {"sgd", "sparse_adam"}) {
    const Words words = {init("base"),
                         "optim.train=values",
                         "optim.rows_per_step=2",
                         "steps=3",
                         "model.productkey_args.value_weight_decay=0",
                         "model.productkey_args.value_optimizer=" + optimizer};
    const TrainingRecord whole = train(optimizer, words);
    ASSERT_EQ(error, "");
    const auto taught = weights(optimizer);
    const std::set<std::size_t> rows = changed_rows(base.at(table_), taught.at(table_), 8);
    EXPECT_GE(rows.size(), 2U);
    EXPECT_LE(rows.size(), 6U);  // two in each of three steps
    EXPECT_LT(*rows.begin(), 64U);
    for (const auto& [name, numbers] : taught) {
      if (name == table_) continue;
      EXPECT_EQ(base.at(name), numbers) << name;
    }
    // The counts are in the run's checkpoints: it goes on, and another starts from it.
    const TrainingRecord first = train(optimizer + "2", words, 2);
    EXPECT_EQ(joined(first.losses, train(optimizer + "2", words).losses), whole.losses);
    train(optimizer + "3", with(words, {init(optimizer)}));
    EXPECT_EQ(error, "");
  }
  frequency[3] = 21;
  write_document_frequencies(newest, {{table_, 20, frequency}});
  train("damaged", {init("base"), "optim.rows_per_step=2"});
  EXPECT_NE(error.find("the counts are damaged"), std::string::npos) << error;
}

TEST_F(MemoryAdded, CountingReadsEveryBatchOnce) {
  train("base", {"steps=4"});
  ProbeOptions options;
  options.model = (folder_ / "base").string();
  options.device = "cpu";
  options.rows = 32;
  ProbeModel model(options);
  std::vector<std::vector<bool>> read;  // by batch: which rows
  std::vector<ScoreRows> passes;
  for (int batch = 0; batch < 5; ++batch) {
    ScoreRows rows;
    for (std::int32_t i = 0; i < 32; ++i) {
      rows.tokens.push_back((7 * batch + i) % 9);
      rows.targets.push_back(1);
      rows.positions.push_back(i % 16);
      rows.document_start.push_back(i / 16 * 16);
    }
    passes.push_back(rows);
    read.emplace_back(256);
    read_lookups(model.model(), {}, rows, [&](const LookupPass& pass) {
      for (std::int64_t p = 0; p < pass.size() * pass.heads * pass.knn; ++p) {
        read.back()[static_cast<std::size_t>(pass.memories[0].picks[p])] = true;
      }
    });
  }
  std::size_t next = 0;
  const auto counts = count_document_frequency(model, 4, [&](ScoreRows& rows) {
    if (next == passes.size()) return false;
    rows = passes[next++];
    return true;
  });
  ASSERT_EQ(counts.size(), 1U);
  EXPECT_EQ(counts[0].table, table_);
  EXPECT_EQ(counts[0].batches, 4);
  for (std::size_t row = 0; row < 256; ++row) {
    int expected = 0;
    for (int batch = 0; batch < 4; ++batch) expected += read[static_cast<std::size_t>(batch)][row];
    EXPECT_EQ(counts[0].of_row[row], expected) << row;
  }
}

}  // namespace
}  // namespace memengine
