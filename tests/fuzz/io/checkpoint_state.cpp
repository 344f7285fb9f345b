// state.json of a checkpoint. An input is read as it is, and once more with a checksum that agrees,
// since a fuzzer cannot guess it: what a stranger can seal must not harm either.
#include "io/checkpoints/checkpoint_state.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz_target.h"

namespace {

using memengine::StateFile;

void check_state(std::string_view text) {
  fuzz_accepts([&] {
    const StateFile state = memengine::read_state("state", text);
    for (const auto& [name, sums] : state.files) {
      fuzz_check(sums.block_bytes > 0, "blocks of no bytes");
      fuzz_check(sums.blocks.size() ==
                     (sums.bytes / sums.block_bytes) + (sums.bytes % sums.block_bytes != 0 ? 1 : 0),
                 "checksums that do not cover a file");
      fuzz_check(name.find('/') == std::string::npos, "a file elsewhere");
    }
    if (state.increment) fuzz_check(state.increment->base.step < state.step, "a base in future");
  });
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  StateFile state;
  state.step = 7;
  state.sections["run"] = {{"config", std::string("name: x\n")}, {"step", std::int64_t{7}}};
  state.sections["loader"] = {{"weight", 0.5}, {"shuffled", true}, {"drawn", INT64_MAX}};
  state.files["model.safetensors"] = {10, 4, {1, 2, UINT64_MAX}};
  std::vector<std::string> seeds = {memengine::write_state(state)};
  state.increment.emplace();
  state.increment->base.step = 3;
  state.increment->base.checksum = "0123456789abcdef";
  state.increment->patches["table"] = "table.rows";
  seeds.push_back(memengine::write_state(state));
  for (const char* text : {"", "{}", "[]", "null", "{\"format\":\"memengine checkpoint\"}",
                           "{\"format\":\"memengine checkpoint\",\"version\":2,\"base\":3}"}) {
    seeds.emplace_back(text);
  }
  // Counts that are no whole numbers.
  for (const char* number : {"4e81", "-4e81", "1.5", "-1", "18446744073709551615"}) {
    for (const char* key : {"\"block_bytes\": ", "\"bytes\": ", "\"step\": "}) {
      std::string seed = seeds[1];
      for (std::size_t at = seed.find(key); at != std::string::npos; at = seed.find(key, at + 1)) {
        const std::size_t digits = at + std::strlen(key);
        seed.replace(digits, seed.find_first_of(",\n", digits) - digits, number);
      }
      seeds.push_back(seed);
    }
  }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text = fuzz_text(bytes, size);
  check_state(text);
  // Nesting is bounded where the reader bounds it; the parser here must not be what falls over.
  int depth = 0;
  const auto shallow = [&depth](int now, nlohmann::json::parse_event_t, nlohmann::json&) {
    depth = std::max(depth, now);
    return now < 16;
  };
  nlohmann::json document = nlohmann::json::parse(text, shallow, false);
  if (depth >= 16 || !document.is_object()) return 0;
  document.erase("checksum");
  try {
    const std::string body = document.dump(1);
    char digits[17];
    std::snprintf(
        digits, sizeof digits, "%016llx",
        static_cast<unsigned long long>(memengine::block_checksum(std::as_bytes(std::span(body)))));
    document["checksum"] = digits;
    check_state(document.dump(1) + "\n");
  } catch (const nlohmann::json::exception&) {  // text that is not UTF-8 cannot be sealed
  }
  return 0;
}
