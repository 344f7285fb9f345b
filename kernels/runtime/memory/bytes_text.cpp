// The largest unit of which there is at least one.
#include "kernels/runtime/memory/bytes_text.h"

#include "kernels/runtime/error.h"

namespace memengine {

std::string bytes_text(std::int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= std::int64_t{1} << 30) return format_text("{:.2f} GiB", value / (1 << 30));
  if (bytes >= 1 << 20) return format_text("{:.1f} MiB", value / (1 << 20));
  if (bytes >= 1 << 10) return format_text("{:.1f} KiB", value / (1 << 10));
  return format_text("{} bytes", bytes);
}

}  // namespace memengine
