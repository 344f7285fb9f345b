// The synthetic corpus: unique people, questions that the text answers, the same bytes every time.
#include "io/synthetic/biographies.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "io/synthetic/biographies_words.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

TEST(Biographies, NamesAreUniqueAndPlain) {
  const BiographyCorpus corpus(7, 100000, 1);
  std::set<std::string> names;
  for (std::int64_t i = 0; i < corpus.people(); ++i) names.insert(corpus.person(i).name);
  EXPECT_EQ(names.size(), 100000U);
  EXPECT_GE(biography_name_capacity(), 10000000);

  std::set<std::string> surnames;
  for (const auto front : biography_words::surname_fronts()) {
    for (const auto back : biography_words::surname_backs()) {
      surnames.insert(std::string(front) + std::string(back));
    }
  }
  EXPECT_EQ(surnames.size(),
            biography_words::surname_fronts().size() * biography_words::surname_backs().size());
  const auto expect_distinct = [](std::span<const std::string_view> list) {
    EXPECT_EQ(std::set<std::string_view>(list.begin(), list.end()).size(), list.size());
    for (const auto word : list) {
      EXPECT_FALSE(word.empty());
      EXPECT_EQ(word.find_first_of(".\"\\"), std::string_view::npos) << word;
    }
  };
  expect_distinct(biography_words::first_names());
  expect_distinct(biography_words::middle_names());
  expect_distinct(biography_words::cities());
  expect_distinct(biography_words::university_towns());
  expect_distinct(biography_words::majors());
  expect_distinct(biography_words::employer_names());
  expect_distinct(biography_words::employer_kinds());
}

TEST(Biographies, EverySentenceFrontNamesOneAttribute) {
  std::map<std::string_view, int> owner;
  for (int a = 0; a < biography_attribute_count; ++a) {
    for (const auto front : biography_words::sentence_fronts()[a]) {
      EXPECT_TRUE(owner.emplace(front, a).second) << front;
    }
  }
}

TEST(Biographies, PassagesTellEveryValueAndAnswerTheQuestions) {
  for (const int people : {1, 19, 99, 989}) {
    const BiographyCorpus corpus(static_cast<std::uint64_t>(people), people, 3);
    std::set<std::string> openings;
    for (std::int64_t i = 0; i < people; ++i) {
      const Biography biography = corpus.person(i);
      std::set<std::string> passages;
      for (int p = 0; p < 3; ++p) {
        const std::string text = corpus.passage(biography, i, p);
        passages.insert(text);
        EXPECT_EQ(std::count(text.begin(), text.end(), '.'), 6);
        for (const std::string& value : biography.values) {
          EXPECT_NE(text.find(" " + value + "."), std::string::npos) << text;
        }
      }
      EXPECT_EQ(passages.size(), 3U);
      const std::string first = corpus.passage(biography, i, 0);
      for (const RecallQuestion& question : corpus.questions(biography, i)) {
        EXPECT_NE(first.find(question.prompt + question.answer + "."), std::string::npos);
      }
    }
  }
}

TEST(Biographies, SentenceOrderAndTemplatesAreSpread) {
  const BiographyCorpus corpus(3, 3000, 1);
  std::map<std::string, int> first_sentence;
  for (std::int64_t i = 0; i < 3000; ++i) {
    const Biography biography = corpus.person(i);
    const std::string text = corpus.passage(biography, i, 0);
    for (const RecallQuestion& question : corpus.questions(biography, i)) {
      if (text.starts_with(question.prompt + question.answer + ".")) {
        ++first_sentence[question.prompt.substr(biography.name.size())];
      }
    }
  }
  EXPECT_EQ(first_sentence.size(), 30U);  // 6 attributes x 5 templates, 100 expected of each
  for (const auto& [front, count] : first_sentence) {
    EXPECT_GT(count, 50) << front;
    EXPECT_LT(count, 160) << front;
  }
}

TEST(Biographies, JsonLinesParseAndRepeat) {
  const auto text = [](std::uint64_t seed, std::int64_t people) {
    std::ostringstream out;
    const BiographyCorpus corpus(seed, people, 2);
    corpus.write_corpus(out);
    EXPECT_EQ(corpus.write_questions(out, 30), 30);
    return out.str();
  };
  EXPECT_EQ(text(1, 19), text(1, 19));
  EXPECT_NE(text(1, 19), text(2, 19));

  std::istringstream lines(text(1, 19));
  std::string line;
  int texts = 0;
  std::map<std::string, int> attributes;
  while (std::getline(lines, line)) {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (object.contains("text")) {
      ++texts;
      EXPECT_EQ(object.at("source"), "biographies");
    } else {
      ++attributes[object.at("attribute").get<std::string>()];
      EXPECT_EQ(object.at("answer").get<std::string>()[0], ' ');
    }
  }
  EXPECT_EQ(texts, 38);
  EXPECT_EQ(attributes.size(), 6U);
  for (const auto& [attribute, count] : attributes) EXPECT_EQ(count, 5) << attribute;

  // The first so many of all, also where that is not a whole number of people.
  const auto questions = [](std::int64_t count) {
    std::ostringstream out;
    const std::int64_t written = BiographyCorpus(1, 7, 1).write_questions(out, count);
    const std::string lines = out.str();
    EXPECT_EQ(written, std::count(lines.begin(), lines.end(), '\n')) << count;
    return lines;
  };
  const std::string all = questions(0);
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 42);
  for (const std::int64_t count : {1, 6, 10, 41, 42, 43}) {
    EXPECT_TRUE(all.starts_with(questions(count))) << count;
    const std::string some = questions(count);
    EXPECT_EQ(std::count(some.begin(), some.end(), '\n'), std::min<std::int64_t>(count, 42));
  }

  // A larger corpus begins with the same people.
  std::ostringstream small, large;
  BiographyCorpus(1, 19, 2).write_corpus(small);
  BiographyCorpus(1, 99, 2).write_corpus(large);
  EXPECT_TRUE(large.str().starts_with(small.str()));
}

TEST(Biographies, ImpossibleSizesAreInputErrors) {
  EXPECT_THROW(BiographyCorpus(1, 0, 1), Error);
  EXPECT_THROW(BiographyCorpus(1, biography_name_capacity() + 1, 1), Error);
  EXPECT_THROW(BiographyCorpus(1, 1, 0), Error);
  EXPECT_GT(BiographyCorpus::bits_per_person(), 40.0);
}

}  // namespace
}  // namespace memengine
