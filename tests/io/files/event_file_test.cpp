// Event files read back by a reader that shares no code with the writer: frames, checksums bit by
// bit, protocol buffers field by field.
#include "io/files/event_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// The definition of CRC-32C: the remainder of a division, one bit at a time.
std::uint32_t slow_masked_crc(const std::string& bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

struct Field {
  std::uint64_t number = 0;  // as an integer, or the bits of a float or double
  std::string bytes;
  double as_double() const {
    double value = 0;
    std::memcpy(&value, &number, 8);
    return value;
  }
  float as_float() const {
    float value = 0;
    const auto bits = static_cast<std::uint32_t>(number);
    std::memcpy(&value, &bits, 4);
    return value;
  }
};

// Field numbers to values, in order.
std::multimap<int, Field> parse_message(const std::string& bytes) {
  std::multimap<int, Field> fields;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at(at++));
      value |= static_cast<std::uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const auto fixed = [&](std::size_t size) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.substr(at, size).data(), size);
    at += size;
    return value;
  };
  while (at < bytes.size()) {
    const std::uint64_t key = varint();
    Field field;
    switch (key & 7) {
      case 0:
        field.number = varint();
        break;
      case 1:
        field.number = fixed(8);
        break;
      case 5:
        field.number = fixed(4);
        break;
      case 2: {
        const std::uint64_t size = varint();
        field.bytes = bytes.substr(at, size);
        EXPECT_EQ(field.bytes.size(), size);
        at += size;
        break;
      }
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return fields;
    }
    fields.emplace(static_cast<int>(key >> 3), field);
  }
  return fields;
}

std::vector<std::string> frames_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  const std::string bytes = content.str();
  std::vector<std::string> frames;
  std::size_t at = 0;
  while (at < bytes.size()) {
    std::uint64_t length = 0;
    std::uint32_t crc = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    std::memcpy(&crc, bytes.data() + at + 8, 4);
    EXPECT_EQ(crc, slow_masked_crc(bytes.substr(at, 8)));
    frames.push_back(bytes.substr(at + 12, length));
    std::memcpy(&crc, bytes.data() + at + 12 + length, 4);
    EXPECT_EQ(crc, slow_masked_crc(frames.back()));
    at += length + 16;
  }
  EXPECT_EQ(at, bytes.size());
  return frames;
}

const Field& one(const std::multimap<int, Field>& fields, int number) {
  EXPECT_EQ(fields.count(number), 1u) << number;
  return fields.find(number)->second;
}

TEST(EventFile, ChecksumsAreCrc32cMasked) {
  // RFC 3720, B.4: the CRC-32C of "123456789" is e3069283, that of 32 zero bytes 8a9136aa.
  const auto masked = [](std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; };
  EXPECT_EQ(masked_crc32c("123456789"), masked(0xe3069283u));
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')), masked(0x8a9136aau));
  EXPECT_EQ(slow_masked_crc("123456789"), masked_crc32c("123456789"));
}

TEST(EventFile, ScalarsAndHistogramsComeBack) {
  const TemporaryFolder folder;
  fs::path path;
  {
    EventFile file(folder / "tb", -1);
    path = file.path();
    EventHistogram histogram;
    histogram.tag = "val/pkm/picks_of_a_row";
    histogram.greatest = 3;
    histogram.count = 6;
    histogram.sum = 9;
    histogram.limits = {0.5, 1.5, 3.5};
    histogram.counts = {1, 2, 3};
    const std::vector<Metric> metrics = {{"loss/out", 2.5},
                                         {"name", std::string("left out")},
                                         {"optim/total_tokens", std::int64_t{1} << 40},
                                         {"bad", std::nan("")},
                                         {"flag", true}};
    file.write(300, metrics, std::vector<EventHistogram>{histogram});
    file.write(0, std::vector<Metric>{{"loss/out", 1.0}});
  }
  EXPECT_TRUE(path.filename().string().starts_with("events.out.tfevents."));
  const std::vector<std::string> frames = frames_of(path);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(one(parse_message(frames[0]), 3).bytes, "brain.Event:2");

  const auto event = parse_message(frames[1]);
  EXPECT_EQ(one(event, 2).number, 300u);
  EXPECT_GT(one(event, 1).as_double(), 1.7e9);  // seconds since 1970
  const auto summary = parse_message(one(event, 5).bytes);
  std::map<std::string, float> scalars;
  std::map<std::string, std::multimap<int, Field>> histograms;
  for (const auto& [number, field] : summary) {
    EXPECT_EQ(number, 1);
    const auto value = parse_message(field.bytes);
    const std::string tag = one(value, 1).bytes;
    if (value.count(2) > 0) scalars[tag] = one(value, 2).as_float();
    if (value.count(5) > 0) histograms[tag] = parse_message(one(value, 5).bytes);
  }
  EXPECT_EQ(scalars.size(), 4u);
  EXPECT_EQ(scalars.at("loss/out"), 2.5f);
  EXPECT_EQ(scalars.at("optim/total_tokens"), 1.099511627776e12f);
  EXPECT_TRUE(std::isnan(scalars.at("bad")));
  EXPECT_EQ(scalars.at("flag"), 1);
  const auto& histogram = histograms.at("val/pkm/picks_of_a_row");
  EXPECT_EQ(one(histogram, 2).as_double(), 3);
  EXPECT_EQ(one(histogram, 3).as_double(), 6);
  EXPECT_EQ(one(histogram, 4).as_double(), 9);
  const double limits[] = {0.5, 1.5, 3.5}, counts[] = {1, 2, 3};
  ASSERT_EQ(one(histogram, 6).bytes.size(), sizeof(limits));
  EXPECT_EQ(std::memcmp(one(histogram, 6).bytes.data(), limits, sizeof(limits)), 0);
  EXPECT_EQ(std::memcmp(one(histogram, 7).bytes.data(), counts, sizeof(counts)), 0);
  EXPECT_EQ(parse_message(frames[2]).count(2), 0u);  // step 0 is the default
}

TEST(EventFile, AResumedRunTellsToForgetLaterSteps) {
  const TemporaryFolder folder;
  const EventFile first(folder / "tb", -1), second(folder / "tb", 40);
  EXPECT_NE(first.path(), second.path());
  EXPECT_EQ(frames_of(first.path()).size(), 1u);
  const std::vector<std::string> frames = frames_of(second.path());
  ASSERT_EQ(frames.size(), 2u);
  const auto event = parse_message(frames[1]);
  EXPECT_EQ(one(event, 2).number, 41u);
  EXPECT_EQ(one(parse_message(one(event, 7).bytes), 1).number, 1u);  // SessionLog.START
}

TEST(EventFile, AFolderThatCannotBeIsAnInputError) {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  EXPECT_THROW(EventFile(folder / "file", -1), Error);
}

}  // namespace
}  // namespace memengine
