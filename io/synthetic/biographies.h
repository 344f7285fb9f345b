// Synthetic biographies: a corpus whose facts can be counted, to measure how much a model stores.
//
// As in "Physics of Language Models: Part 3.1" (Allen-Zhu and Li, 2023): every person has a unique
// full name and six attributes (birth date, birth city, university, major, employer, work city),
// drawn independently and uniformly. A passage tells all six, one sentence each, in shuffled order,
// each sentence from one of several templates:
//
//   Anya Briar Forger was born in Princeton. Anya Briar Forger studied Botany. ...
//
// Every template puts the name first and the value last, so a sentence without its value is a
// recall question with one right answer: "Anya Briar Forger was born in" -> " Princeton". No value
// contains a full stop, so the answer ends where the next "." stands.
//
// Person i is a pure function of (seed, i), through a counter-based generator: nothing is held in
// memory, any part can be made alone, and a corpus of more people begins with the same people.
// Names are drawn without repetition by a keyed permutation of all possible names.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

inline constexpr int biography_attribute_count = 6;

// Field names of the attributes, in the order of Person::values: "birth_date", "birth_city", ...
std::string_view biography_attribute_name(int attribute);

struct Biography {
  std::string name;                                           // "Anya Briar Forger"
  std::array<std::string, biography_attribute_count> values;  // "October 2, 1996", "Princeton", ...
};

struct RecallQuestion {
  std::string prompt;     // a training sentence up to its value: "Anya Briar Forger was born in"
  std::string answer;     // what follows, with the space in front: " Princeton"
  std::string attribute;  // "birth_city"
};

class BiographyCorpus {
 public:
  // `people` persons with `passages` paraphrases each. Input error when either is below 1, or there
  // are more people than names (biography_name_capacity).
  BiographyCorpus(std::uint64_t seed, std::int64_t people, int passages);

  std::int64_t people() const { return people_; }
  int passages() const { return passages_; }

  Biography person(std::int64_t index) const;

  // Paraphrase `passage` of a person: six sentences, order and templates sampled.
  std::string passage(const Biography& biography, std::int64_t index, int passage) const;

  // One question per attribute, in the words that a passage of the person uses for it, so that the
  // question measures stored facts and not the understanding of an unseen phrase.
  std::array<RecallQuestion, biography_attribute_count> questions(const Biography& biography,
                                                                  std::int64_t index,
                                                                  int passage = 0) const;

  // JSON lines {"text", "source": "biographies"}: the passages, person after person. Readers
  // shuffle. Fails (internal error) when the stream does.
  void write_corpus(std::ostream& out) const;

  // JSON lines {"prompt", "answer", "attribute"}: the first `count` questions, person after person
  // (all of them when 0 or more than there are). Returns how many that are.
  std::int64_t write_questions(std::ostream& out, std::int64_t count = 0) const;

  // The bits that name one person's attributes, given the value lists: the sum of log2(choices).
  static double bits_per_person();

 private:
  std::uint64_t seed_;
  std::int64_t people_;
  int passages_;
};

// How many distinct full names there are.
std::int64_t biography_name_capacity();

}  // namespace memengine
