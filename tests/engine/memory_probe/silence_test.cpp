// The instrument itself: what is silenced must be lost, and nothing else may change.
#include <algorithm>
#include <cmath>
#include <set>

#include "engine/memory_probe/rows/row_change.h"
#include "engine/memory_probe/silence/facts.h"
#include "engine/memory_probe/silence/silencer.h"
#include "tests/engine/memory_probe/probe_testing.h"
#include "tests/expect_input_error.h"

namespace memengine {
namespace {

std::vector<double> scores(ProbeModel& model) {
  std::mt19937 random(5);
  std::vector<double> log_probabilities;
  std::vector<std::int32_t> best;
  model.model().score(random_documents(random, {64, 20}), log_probabilities, best);
  return log_probabilities;
}

std::vector<std::int64_t> all_rows(const ProbeModel& model) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(model.rows()));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  return rows;
}

// A silenced row is a row of zeros; a silenced layer without a projection is a table of zeros.
TEST(Silencer, SilenceIsZeros) {
  const TemporaryFolder folder;
  for (const char* memory : {"swilu_projection: false", "swilu_projection: true",
                             "peer_variant: true", "mem_share_values: false"}) {
    SCOPED_TRACE(memory);
    write_probe_model(folder / "model", probe_config(memory));
    write_probe_model(folder / "zeros", probe_config(memory), 7, true);
    for (const Device device : probe_devices()) {
      ProbeModel model(probe_options(folder / "model", device, 128));
      ProbeModel zeros(probe_options(folder / "zeros", device, 128));
      const std::vector<double> whole = scores(model), silent = scores(zeros);
      ASSERT_NE(whole, silent);
      Silencer silencer(model);
      EXPECT_EQ(scores(model), whole);
      std::vector<std::vector<std::int64_t>> of_tables(model.shares_table() ? 1 : 2);
      for (auto& rows : of_tables) rows = all_rows(model);
      silencer.rows(of_tables);
      EXPECT_EQ(scores(model), silent);
      silencer.rows(std::vector<std::int64_t>{}, 0);
      EXPECT_EQ(scores(model), whole);
      silencer.head(1, 0);
      const std::vector<double> one_head = scores(model);
      EXPECT_NE(one_head, whole);
      EXPECT_NE(one_head, silent);
      silencer.layer(1);
      EXPECT_NE(scores(model), whole);
      silencer.clear();
      EXPECT_EQ(scores(model), whole);
    }
  }
}

TEST(Silencer, OnlyMemoryLayersCanBeSilenced) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config());
  ProbeModel model(probe_options(folder / "model"));
  expect_input_error("0, 2", [&] { model.model().transformer().silence(1, {}); });
}

// Two facts are planted in rows of an otherwise empty table. The instrument must find the rows, and
// silencing those of one fact must take this fact alone, to the last bit of the other.
TEST(Facts, APlantedFactIsFoundAndTakenAlone) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config("swilu_projection: false"), 7, true);
  for (const Device device : probe_devices()) {
    ProbeModel model(probe_options(folder / "model", device));
    std::vector<FactQuestion> questions(2);
    questions[0] = {model.encode("Anna keeps a "), {'x'}, 4};
    questions[1] = {model.encode("Bert has seen the "), {'q'}, 4};
    for (const FactAnswer& answer : ask(model, questions)) ASSERT_FALSE(answer.right);

    std::vector<std::int64_t> reads;
    const std::vector<QuestionRows> rows = read_question_rows(model, questions, reads);
    // Both memory layers and both heads read at the one token that predicts the value.
    ASSERT_LE(rows[0].answer.size(), 20u);
    ASSERT_GE(rows[0].answer.size(), 10u);
    std::int64_t all = 0;
    for (const std::int64_t count : reads) all += count;
    EXPECT_EQ(
        all,
        static_cast<std::int64_t>(questions[0].prompt.size() + questions[1].prompt.size()) * 20);

    const std::vector<float> head = parameter(model, "output.weight");
    std::vector<std::vector<std::int64_t>> planted(2);
    for (std::size_t fact = 0; fact < 2; ++fact) {
      const std::vector<std::int64_t>& others = rows[1 - fact].answer;
      std::vector<float> value(32);
      const auto token = static_cast<std::size_t>(questions[fact].value.front());
      for (std::size_t c = 0; c < 32; ++c) value[c] = 400 * head[token * 32 + c];
      for (const std::int64_t row : rows[fact].answer) {
        if (std::binary_search(others.begin(), others.end(), row)) continue;
        plant_row(model, 0, row, value);
        planted[fact].push_back(row);
      }
      ASSERT_FALSE(planted[fact].empty());
    }
    // Layer 0's rows move what layer 2 looks up, so it is asked of the model as it is now.
    const std::vector<FactAnswer> whole = ask(model, questions);
    ASSERT_TRUE(whole[0].right);
    ASSERT_TRUE(whole[1].right);
    std::vector<std::int64_t> ignored;
    const std::vector<QuestionRows> now = read_question_rows(model, questions, ignored);

    Silencer silencer(model);
    std::vector<std::int64_t> unread;  // rows that neither question reads
    for (std::int64_t row = 0; row < model.rows(); ++row) {
      if (ignored[static_cast<std::size_t>(row)] == 0 && unread.size() < 20) unread.push_back(row);
    }
    silencer.rows(unread, 0);
    for (std::size_t q = 0; q < 2; ++q) {
      EXPECT_EQ(ask(model, questions)[q].log_probability, whole[q].log_probability);
    }
    for (std::size_t fact = 0; fact < 2; ++fact) {
      silencer.rows(planted[fact], 0);
      const std::vector<FactAnswer> after = ask(model, questions);
      EXPECT_FALSE(after[fact].right);
      EXPECT_LT(after[fact].log_probability, whole[fact].log_probability - 1);
      EXPECT_TRUE(after[1 - fact].right);
      // The other fact reads none of them: nothing changed for it.
      const auto& other = now[1 - fact].answer;
      const bool reads_some = std::any_of(
          planted[fact].begin(), planted[fact].end(),
          [&](std::int64_t row) { return std::binary_search(other.begin(), other.end(), row); });
      if (!reads_some) {
        EXPECT_NEAR(after[1 - fact].log_probability, whole[1 - fact].log_probability, 1e-3);
      }
    }
  }
}

TEST(Facts, AModelThatKnowsNothingIsRefused) {
  const TemporaryFolder folder;
  write_probe_model(folder / "model", probe_config());
  ProbeModel model(probe_options(folder / "model"));
  FactsOptions options;
  options.people = 3;
  options.passages = 2;
  // Sentences are longer than 64 bytes: the model could not read them.
  expect_input_error("tokens", [&] { study_facts(model, options); });
}

TEST(RowChange, FindsTheRowsThatWereChanged) {
  const TemporaryFolder folder;
  write_probe_model(folder / "a", probe_config("mem_share_values: false"));
  write_probe_model(
      folder / "other",
      probe_config("mem_n_keys: 20")
          .replace(probe_config("mem_n_keys: 20").find("    mem_n_keys: 48\n"), 19, ""));
  {
    ProbeModel model(probe_options(folder / "a"));
    std::vector<float> zeros(32), ones(32, 1.0F);
    plant_row(model, 1, 5, zeros);
    plant_row(model, 1, 900, ones);
    const auto files = model_files(model.model().context(), model.model().transformer(), nullptr);
    std::filesystem::create_directories(folder / "b");
    std::filesystem::copy(folder / "a" / "config.yaml", folder / "b" / "config.yaml");
    write_safetensors(FileSystem::real(), folder / "b" / "model.safetensors",
                      files.front().tensors);
  }
  const auto tables = compare_tables(find_model(folder / "a"), find_model(folder / "b"), 5);
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[0].changed, 0);
  EXPECT_TRUE(tables[0].top.empty());
  EXPECT_EQ(tables[1].layer, 2);
  EXPECT_EQ(tables[1].changed, 2);
  ASSERT_EQ(tables[1].top.size(), 2u);
  EXPECT_EQ(tables[1].top[0].row, 900);
  EXPECT_NEAR(tables[1].top[0].after, std::sqrt(32.0), 1e-6);
  EXPECT_EQ(tables[1].top[1].row, 5);
  EXPECT_NEAR(tables[1].top[1].change, tables[1].top[1].before, 1e-9);
  EXPECT_EQ(tables[1].top[1].cosine, 0);
  expect_input_error("mem_n_keys 48", [&] {
    compare_tables(find_model(folder / "a"), find_model(folder / "other"), 5);
  });
}

}  // namespace
}  // namespace memengine
