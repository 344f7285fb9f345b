// Safetensors: what is written reads back, also in blocks of odd sizes; nothing hostile gets
// through.
#include "io/checkpoints/safetensors.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/data.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;

std::string random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

TensorSource source(std::string name, FileDtype dtype, std::vector<std::int64_t> shape,
                    std::string* bytes, unsigned seed) {
  TensorSource tensor{std::move(name), dtype, std::move(shape), {}};
  *bytes = random_bytes(tensor.bytes(), seed);
  tensor.read = [bytes](std::uint64_t offset, std::span<std::byte> block) {
    ASSERT_LE(offset + block.size(), bytes->size());
    std::memcpy(block.data(), bytes->data() + offset, block.size());
  };
  return tensor;
}

std::string tensor_bytes(const SafetensorsReader& reader, const TensorInfo& tensor) {
  std::string bytes(tensor.bytes, '?');
  reader.read(tensor.name, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

// A file with this header text (padded by nothing) and this much data.
std::string file_of(const std::string& header, std::size_t data) {
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  return length + header + std::string(data, 'd');
}

TEST(Safetensors, RoundTripsEveryDtypeInOddBlocks) {
  const TemporaryFolder folder;
  for (const std::size_t block : {1u, 19u, 99u, 989u, 1u << 20}) {
    std::vector<std::string> contents(9);
    std::vector<TensorSource> tensors;
    const FileDtype dtypes[] = {FileDtype::f64, FileDtype::f32, FileDtype::bf16, FileDtype::f16,
                                FileDtype::i32, FileDtype::i64, FileDtype::u8,   FileDtype::u16};
    for (unsigned i = 0; i < 8; ++i) {
      tensors.push_back(source("t." + std::to_string(i), dtypes[i], {19, 3}, &contents[i], i));
    }
    tensors.push_back(source("empty", FileDtype::f32, {0, 989}, &contents[8], 8));
    const auto path = folder / "a.safetensors";
    const Metadata metadata{{"format", "pt"}};
    std::string seen;
    std::mutex mutex;
    std::map<std::size_t, std::string> blocks;
    SafetensorsWriting writing;
    writing.block_bytes = block;
    writing.threads = block % 2 == 0 ? 1 : 4;
    writing.on_block = [&](std::size_t number, std::span<const std::byte> bytes) {
      EXPECT_LE(bytes.size(), block);
      const std::lock_guard lock(mutex);
      EXPECT_TRUE(blocks
                      .emplace(number, std::string(reinterpret_cast<const char*>(bytes.data()),
                                                   bytes.size()))
                      .second);
    };
    write_safetensors(FileSystem::real(), path, tensors, metadata, writing);
    for (const auto& [number, bytes] : blocks) {
      EXPECT_EQ(number * block, seen.size());
      seen += bytes;
    }
    EXPECT_EQ(seen, slurp(path));
    EXPECT_EQ(seen.size(), safetensors_bytes(tensors, metadata));
    const SafetensorsReader reader(path);
    EXPECT_EQ(reader.metadata(), metadata);
    ASSERT_EQ(reader.tensors().size(), 9u);
    for (unsigned i = 0; i < 8; ++i) {
      const TensorInfo* tensor = reader.find("t." + std::to_string(i));
      ASSERT_TRUE(tensor);
      EXPECT_EQ(tensor->dtype, dtypes[i]);
      EXPECT_EQ(tensor->shape, (std::vector<std::int64_t>{19, 3}));
      EXPECT_EQ(tensor_bytes(reader, *tensor), contents[i]);
      std::string tail(5, '?');
      reader.read(tensor->name, 11, std::as_writable_bytes(std::span(tail)));
      EXPECT_EQ(tail, contents[i].substr(11, 5));
    }
    EXPECT_EQ(reader.find("empty")->bytes, 0u);
    EXPECT_EQ(reader.find("t"), nullptr);
    std::string much(999, '?');
    EXPECT_NE(
        input_error_of([&] { reader.read("t.0", 0, std::as_writable_bytes(std::span(much))); }),
        "no error");
    EXPECT_NE(input_error_of([&] { reader.read("none", 0, {}); }), "no error");
  }
}

TEST(Safetensors, NoTensorsAtAll) {
  const TemporaryFolder folder;
  write_safetensors(FileSystem::real(), folder / "a.safetensors", {});
  EXPECT_TRUE(SafetensorsReader(folder / "a.safetensors").tensors().empty());
}

TEST(Safetensors, SeveralFilesThroughAnIndex) {
  const TemporaryFolder folder;
  std::string first, second;
  const TensorSource a = source("a", FileDtype::f32, {99}, &first, 1);
  const TensorSource b = source("b", FileDtype::bf16, {19}, &second, 2);
  write_safetensors(FileSystem::real(), folder / "1.safetensors", {&a, 1});
  write_safetensors(FileSystem::real(), folder / "2.safetensors", {&b, 1});
  const auto index = folder / "model.safetensors.index.json";
  spill(index, R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})");
  const SafetensorsReader reader(folder.path());
  EXPECT_EQ(tensor_bytes(reader, *reader.find("a")), first);
  EXPECT_EQ(tensor_bytes(reader, *reader.find("b")), second);
  for (const char* bad :
       {"{", "[]", "{}", R"({"weight_map": 3})", R"({"weight_map": {"a": 1}})",
        R"({"weight_map": {"a": "../1.safetensors"}})", R"({"weight_map": {"a": "3.safetensors"}})",
        R"({"weight_map": {"b": "1.safetensors"}})", R"({"weight_map": {"a": ".."}})"}) {
    spill(index, bad);
    EXPECT_NE(input_error_of([&] { SafetensorsReader again(folder.path()); }), "no error") << bad;
  }
}

TEST(Safetensors, HostileHeadersAreRefused) {
  const TemporaryFolder folder;
  const auto path = folder / "a.safetensors";
  const auto error = [&](const std::string& bytes) {
    spill(path, bytes);
    return input_error_of([&] { SafetensorsReader reader(path); });
  };
  const std::string good = R"({"t":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
  EXPECT_EQ(error(file_of(good, 24)), "no error");
  EXPECT_NE(error("").find("too short"), std::string::npos);
  EXPECT_NE(error(std::string(8, '\xff')).find("header would take"), std::string::npos);
  EXPECT_NE(error(file_of(good, 23)).find("says 24"), std::string::npos);
  EXPECT_NE(error(file_of(good, 25)).find("says 24"), std::string::npos);
  for (
      const char* bad :
      {"",
       "x",
       "[]",
       "3",
       "{\"t\":1}",
       "{\"t\":{}}",
       R"({"t":{"dtype":"F8","shape":[6],"data_offsets":[0,24]}})",
       R"({"t":{"dtype":"F32","shape":[-6],"data_offsets":[0,24]}})",
       R"({"t":{"dtype":"F32","shape":[6.0],"data_offsets":[0,24]}})",
       R"({"t":{"dtype":"F32","shape":"6","data_offsets":[0,24]}})",
       R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
       R"({"t":{"dtype":"F32","shape":[6],"data_offsets":[0,20]}})",
       R"({"t":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}})",
       R"({"t":{"dtype":"F32","shape":[6],"data_offsets":[0]}})",
       R"({"t":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,6],"data_offsets":[0,24]}})",
       R"({"t":{"dtype":"F32","shape":[5],"data_offsets":[4,24]}})",
       R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"t":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}})",
       R"({"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"u":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}})",
       R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"u":{"dtype":"F32","shape":[2],"data_offsets":[16,24]}})",
       R"({"t":{"dtype":"F32","shape":[[[[[6]]]]],"data_offsets":[0,24]}})"}) {
    EXPECT_NE(error(file_of(bad, 24)), "no error") << bad;
  }
  EXPECT_NE(error(file_of(std::string(100'000, '['), 0)), "no error");
}

TEST(Safetensors, MutatedFilesNeverCrash) {
  const TemporaryFolder folder;
  std::string contents;
  const TensorSource tensor = source("layers.0.w", FileDtype::f32, {19, 3}, &contents, 5);
  const auto path = folder / "a.safetensors";
  write_safetensors(FileSystem::real(), path, {&tensor, 1});
  const std::string whole = slurp(path);
  std::mt19937 random(11);
  for (int round = 0; round < 1500; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 3; ++i) bytes[random() % 90] = static_cast<char>(random());
    if (round % 3 == 0) bytes.resize(random() % bytes.size());
    spill(path, bytes);
    try {
      const SafetensorsReader reader(path);
      for (const TensorInfo& info : reader.tensors()) tensor_bytes(reader, info);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::input);
    }
  }
}

TEST(Safetensors, ReadsARealCheckpoint) {
  MEMENGINE_REQUIRE_DATA();
  const SafetensorsReader reader(test_data_folder() / "checkpoints/stories260K/hf");
  const TensorInfo* tensor = reader.find("model.layers.4.mlp.gate_proj.weight");
  ASSERT_TRUE(tensor);
  EXPECT_EQ(tensor->shape, (std::vector<std::int64_t>{172, 64}));
}

}  // namespace
}  // namespace memengine
