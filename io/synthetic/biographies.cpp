// Synthetic biographies: drawing people and telling them.
//
// A name is one of first x middle x surname combinations. Person i gets combination P(i), where P
// is a permutation of [0, capacity): a four-round Feistel network on the next power of four, walked
// until the result falls below the capacity (cycle walking; Black and Rogaway 2002). So names never
// repeat and no list of used names is needed.
#include "io/synthetic/biographies.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <ostream>

#include "io/synthetic/biographies_words.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/philox.h"

namespace memengine {
namespace {

namespace words = biography_words;

constexpr int first_year = 1900;
constexpr int years = 200;
constexpr int days_per_month = 28;

const std::uint64_t name_stream = random_stream("biographies.name");
const std::uint64_t value_stream = random_stream("biographies.values");
const std::uint64_t passage_stream = random_stream("biographies.passage");

// A uniform integer in [0, n) from 32 random bits (Lemire's multiply-shift; n is far below 2^32).
std::uint32_t below(std::uint32_t bits, std::size_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{bits} * n) >> 32);
}

std::uint64_t permute(std::uint64_t seed, std::uint64_t index, std::uint64_t capacity) {
  int half_bits = 1;
  while ((std::uint64_t{1} << (2 * half_bits)) < capacity) ++half_bits;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  do {
    std::uint64_t left = index >> half_bits;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t mixed = philox(seed, name_stream + round, right).word[0];
      const std::uint64_t next = left ^ (mixed & mask);
      left = right;
      right = next;
    }
    index = (left << half_bits) | right;
  } while (index >= capacity);
  return index;
}

// The random words of one passage: five for the order, six for the templates.
struct PassageDraw {
  std::array<int, biography_attribute_count> order;
  std::array<int, biography_attribute_count> sentence;
};

PassageDraw draw_passage(std::uint64_t seed, std::int64_t index, int passage) {
  const std::uint64_t counter =
      (static_cast<std::uint64_t>(passage) << 40) | static_cast<std::uint64_t>(index);
  std::array<std::uint32_t, 12> bits;
  for (std::uint64_t block = 0; block < 3; ++block) {
    const Philox4 random = philox(seed, passage_stream + block, counter);
    std::copy(std::begin(random.word), std::end(random.word), bits.begin() + 4 * block);
  }
  PassageDraw draw;
  for (int a = 0; a < biography_attribute_count; ++a) draw.order[a] = a;
  for (int a = biography_attribute_count - 1; a > 0; --a) {
    std::swap(draw.order[a], draw.order[below(bits[a - 1], a + 1)]);
  }
  for (int a = 0; a < biography_attribute_count; ++a) {
    draw.sentence[a] = static_cast<int>(below(bits[5 + a], words::templates_per_attribute));
  }
  return draw;
}

std::string university(std::uint32_t town_bits, std::uint32_t pattern_bits) {
  const auto towns = words::university_towns();
  const auto patterns = words::university_patterns();
  std::string text(patterns[below(pattern_bits, patterns.size())]);
  return text.replace(text.find('@'), 1, towns[below(town_bits, towns.size())]);
}

// The texts are plain ASCII without quotes, so the JSON needs no escapes.
void write_line(std::ostream& out, const std::string& line) {
  out.write(line.data(), static_cast<std::streamsize>(line.size()));
  if (!out) fail_input("cannot write the synthetic biographies: is the disk full?");
}

}  // namespace

std::string_view biography_attribute_name(int attribute) {
  static constexpr std::string_view names[biography_attribute_count] = {
      "birth_date", "birth_city", "university", "major", "employer", "work_city"};
  return names[attribute];
}

std::int64_t biography_name_capacity() {
  return static_cast<std::int64_t>(words::first_names().size() * words::middle_names().size() *
                                   words::surname_fronts().size() * words::surname_backs().size());
}

BiographyCorpus::BiographyCorpus(std::uint64_t seed, std::int64_t people, int passages)
    : seed_(seed), people_(people), passages_(passages) {
  if (people < 1 || people > biography_name_capacity()) {
    fail_input("synthetic biographies: {} people asked for; there are names for 1 to {}", people,
               biography_name_capacity());
  }
  if (passages < 1 || passages >= (1 << 24)) {
    fail_input("synthetic biographies: {} passages a person asked for; give 1 to {}", passages,
               (1 << 24) - 1);
  }
}

Biography BiographyCorpus::person(std::int64_t index) const {
  std::uint64_t name = permute(seed_, static_cast<std::uint64_t>(index),
                               static_cast<std::uint64_t>(biography_name_capacity()));
  const auto take = [&name](std::span<const std::string_view> list) {
    const std::string_view word = list[name % list.size()];
    name /= list.size();
    return word;
  };
  const auto first = take(words::first_names());
  const auto middle = take(words::middle_names());
  const auto front = take(words::surname_fronts());
  const auto back = take(words::surname_backs());

  Biography biography;
  biography.name = fmt::format("{} {} {}{}", first, middle, front, back);
  const auto counter = static_cast<std::uint64_t>(index);
  const Philox4 a = philox(seed_, value_stream, counter);
  const Philox4 b = philox(seed_, value_stream + 1, counter);
  const Philox4 c = philox(seed_, value_stream + 2, counter);
  const auto pick = [](std::uint32_t bits, std::span<const std::string_view> list) {
    return list[below(bits, list.size())];
  };
  biography.values = {
      fmt::format("{} {}, {}", pick(a.word[0], words::months()),
                  1 + below(a.word[1], days_per_month), first_year + below(a.word[2], years)),
      std::string(pick(a.word[3], words::cities())),
      university(b.word[0], b.word[1]),
      std::string(pick(b.word[2], words::majors())),
      fmt::format("{} {}", pick(b.word[3], words::employer_names()),
                  pick(c.word[0], words::employer_kinds())),
      std::string(pick(c.word[1], words::cities()))};
  return biography;
}

std::string BiographyCorpus::passage(const Biography& biography, std::int64_t index,
                                     int passage) const {
  const PassageDraw draw = draw_passage(seed_, index, passage);
  std::string text;
  text.reserve(6 * 64);
  for (const int attribute : draw.order) {
    if (!text.empty()) text += ' ';
    text += biography.name;
    text += words::sentence_fronts()[attribute][draw.sentence[attribute]];
    text += ' ';
    text += biography.values[attribute];
    text += '.';
  }
  return text;
}

std::array<RecallQuestion, biography_attribute_count> BiographyCorpus::questions(
    const Biography& biography, std::int64_t index, int passage) const {
  const PassageDraw draw = draw_passage(seed_, index, passage);
  std::array<RecallQuestion, biography_attribute_count> questions;
  for (int a = 0; a < biography_attribute_count; ++a) {
    questions[a].prompt = biography.name;
    questions[a].prompt += words::sentence_fronts()[a][draw.sentence[a]];
    questions[a].answer = " " + biography.values[a];
    questions[a].attribute = biography_attribute_name(a);
  }
  return questions;
}

void BiographyCorpus::write_corpus(std::ostream& out) const {
  std::string line;
  for (std::int64_t index = 0; index < people_; ++index) {
    const Biography biography = person(index);
    line.clear();
    for (int p = 0; p < passages_; ++p) {
      fmt::format_to(std::back_inserter(line),
                     R"({{"text":"{}","source":"biographies"}})"
                     "\n",
                     passage(biography, index, p));
    }
    write_line(out, line);
  }
}

std::int64_t BiographyCorpus::write_questions(std::ostream& out, std::int64_t count) const {
  const std::int64_t all = people_ * biography_attribute_count;
  const std::int64_t wanted = count > 0 ? std::min(count, all) : all;
  std::string line;
  std::int64_t written = 0;
  for (std::int64_t index = 0; written < wanted; ++index) {
    line.clear();
    for (const RecallQuestion& question : questions(person(index), index)) {
      if (written++ == wanted) break;
      fmt::format_to(std::back_inserter(line),
                     R"({{"prompt":"{}","answer":"{}","attribute":"{}"}})"
                     "\n",
                     question.prompt, question.answer, question.attribute);
    }
    write_line(out, line);
  }
  return wanted;
}

double BiographyCorpus::bits_per_person() {
  const auto bits = [](std::size_t choices) { return std::log2(static_cast<double>(choices)); };
  return bits(words::months().size() * days_per_month * years) + 2 * bits(words::cities().size()) +
         bits(words::university_towns().size() * words::university_patterns().size()) +
         bits(words::majors().size()) +
         bits(words::employer_names().size() * words::employer_kinds().size());
}

}  // namespace memengine
