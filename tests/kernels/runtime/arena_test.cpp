// What is planned is what is handed out: the same construction on a planning arena and on a real
// one gives the same places.
#include "kernels/runtime/memory/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

// A layer's memory with a shared part that is taken and given back twice.
std::vector<Tensor> build(Arena& arena) {
  std::vector<Tensor> parts;
  parts.push_back(arena.allocate("parameters", DType::f32, {7, 11}));
  const std::int64_t mark = arena.mark();
  parts.push_back(arena.allocate("scratch", DType::u8, {1000}));
  arena.rewind(mark);
  parts.push_back(arena.allocate("scratch", DType::f64, {300}));
  arena.rewind(mark);
  parts.push_back(arena.allocate("activations", DType::bf16, {100}));
  return parts;
}

TEST(Arena, PlansWhatItHandsOut) {
  Arena planned;
  EXPECT_TRUE(planned.planning());
  const std::vector<Tensor> on_paper = build(planned);
  // 308 and 2400 bytes, each up to the next 256; the other parts lie inside the largest.
  EXPECT_EQ(planned.planned_bytes(), 512 + 2560);
  EXPECT_EQ(planned.bytes_by_purpose(),
            (std::map<std::string, std::int64_t>{{"parameters", 512}, {"scratch", 2560}}));
  for (const Tensor& part : on_paper) EXPECT_FALSE(part.empty());

  Arena real(Device::cpu, planned.planned_bytes());
  EXPECT_FALSE(real.planning());
  const std::vector<Tensor> parts = build(real);
  const auto place = [](const Tensor& part, const Tensor& first) {
    return static_cast<std::byte*>(part.data()) - static_cast<std::byte*>(first.data());
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(parts[i].data()) % 256, 0U);
    EXPECT_EQ(place(parts[i], parts[0]), place(on_paper[i], on_paper[0]));
    const auto* bytes = static_cast<const unsigned char*>(parts[i].data());
    for (std::int64_t b = 0; b < parts[i].bytes(); ++b) ASSERT_EQ(bytes[b], 0) << "zero-filled";
  }
  EXPECT_EQ(real.planned_bytes(), planned.planned_bytes());
}

TEST(Arena, MoreThanWasPlannedIsAnInternalError) {
  Arena arena(Device::cpu, 600);  // three times 256
  arena.allocate("a", DType::u8, {512});
  arena.allocate("a", DType::u8, {1});
  try {
    arena.allocate("later", DType::u8, {1});
    ADD_FAILURE() << "was handed out";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::internal);
    EXPECT_STREQ(error.what(), "an arena of 768 bytes was planned, 1024 are asked for later");
  }
}

TEST(Arena, MoreThanThereIsIsAnInputErrorInWords) {
  try {
    Arena arena(Device::cpu, std::int64_t{1} << 56);
    ADD_FAILURE() << "64 PiB were there";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    EXPECT_NE(std::string(error.what()).find("67108864.00 GiB of host memory"), std::string::npos)
        << error.what();
  }
}

TEST(Arena, MovesWithItsParts) {
  Arena first(Device::cpu, 256);
  const Tensor part = first.allocate("a", DType::i32, {3});
  part.as<std::int32_t>()[2] = 99;
  Arena second(Device::cpu, 4096);
  second = std::move(first);
  EXPECT_TRUE(first.planning());
  EXPECT_EQ(second.planned_bytes(), 256);
  EXPECT_EQ(second.bytes_by_purpose().at("a"), 256);
  EXPECT_EQ(part.as<std::int32_t>()[2], 99);
}

TEST(Arena, OfABlockOfHostMemory) {
  Arena arena(HostBlock(4096, false, "the value table"));
  EXPECT_FALSE(arena.planning());
  const Tensor part = arena.allocate("value table", DType::f32, {1024});
  std::memset(part.data(), 1, static_cast<std::size_t>(part.bytes()));
  EXPECT_THROW(arena.allocate("value table", DType::u8, {1}), Error);
}

}  // namespace
}  // namespace memengine
