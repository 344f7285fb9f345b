// CPU reference: score, take the best, put them in order again, copy what belongs to them.
#include "kernels/table/choose_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/dispatch.h"

namespace memengine {

void rarity_of(std::span<float> rarity, std::int64_t batches) {
  for (std::size_t d = 0; d < rarity.size(); ++d) {
    const auto frequency = static_cast<std::int64_t>(d);
    rarity[d] = frequency > batches
                    ? 0
                    : static_cast<float>(std::log(static_cast<double>(batches + 1) /
                                                  static_cast<double>(frequency + 1)));
  }
}

void choose_rows(const Context& context, const UniqueRows& chosen, const UniqueRows& unique,
                 const BackgroundUse& background, std::int64_t most) {
  MEMENGINE_ON_CUDA(context, cuda::choose_rows(context, chosen, unique, background, most));
  const std::int64_t count = *unique.count.as<std::int32_t>();
  const auto* rows = unique.rows.as<std::int32_t>();
  const auto* offsets = unique.offsets.as<std::int32_t>();
  const auto* frequency = background.document_frequency.as<std::int32_t>();
  const auto* rarity = background.rarity.as<float>();
  std::vector<float> score(static_cast<std::size_t>(count));
  std::vector<std::int32_t> best(score.size());
  for (std::int64_t u = 0; u < count; ++u) {
    score[static_cast<std::size_t>(u)] =
        static_cast<float>(offsets[u + 1] - offsets[u]) * rarity[frequency[rows[u]]];
  }
  std::iota(best.begin(), best.end(), 0);
  const std::int64_t kept = std::min(most, count);
  std::partial_sort(best.begin(), best.begin() + kept, best.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      const float x = score[static_cast<std::size_t>(a)];
                      const float y = score[static_cast<std::size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  std::sort(best.begin(), best.begin() + kept);

  auto* order = chosen.order.as<std::int32_t>();
  auto* places = chosen.places.as<std::int32_t>();
  std::int32_t picks = 0;
  for (std::int64_t k = 0; k < kept; ++k) {
    const std::int32_t u = best[static_cast<std::size_t>(k)];
    chosen.rows.as<std::int32_t>()[k] = rows[u];
    chosen.offsets.as<std::int32_t>()[k] = picks;
    for (std::int32_t i = offsets[u]; i < offsets[u + 1]; ++i) {
      order[picks] = unique.order.as<std::int32_t>()[i];
      places[picks++] = static_cast<std::int32_t>(k);
    }
  }
  chosen.offsets.as<std::int32_t>()[kept] = picks;
  *chosen.count.as<std::int32_t>() = static_cast<std::int32_t>(kept);
  std::fill(order + picks, order + chosen.order.size(), 0);
  std::fill(places + picks, places + chosen.places.size(),
            std::numeric_limits<std::int32_t>::max());
}

std::int64_t choose_rows_scratch_bytes(Device device, std::int64_t capacity) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::choose_rows_scratch_bytes(capacity);
  }
  return 0;
}

}  // namespace memengine
