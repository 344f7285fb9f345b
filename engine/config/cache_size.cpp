#include "engine/config/cache_size.h"

#include <charconv>
#include <string>

#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {

std::optional<std::int64_t> cache_bytes(const ProductKeyConfig& memory) {
  if (!memory.cache_gib || cache_takes_free_memory(memory)) return std::nullopt;
  const std::string& text = *memory.cache_gib;
  double gib = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), gib);
  if (error != std::errc() || end != text.data() + text.size() || !(gib >= 0 && gib <= 1024)) {
    fail_input(
        "model.productkey_args.cache_gib={}: give a number of GiB from 0 to 1024, or auto for the "
        "GPU memory that is free",
        printable(text));
  }
  return static_cast<std::int64_t>(gib * (std::int64_t{1} << 30));
}

bool cache_takes_free_memory(const ProductKeyConfig& memory) {
  return memory.cache_gib == "auto";
}

}  // namespace memengine
