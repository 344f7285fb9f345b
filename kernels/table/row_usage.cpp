// CPU reference of the usage figures.
#include "kernels/table/row_usage.h"

#include <array>
#include <cmath>
#include <numeric>

#include "kernels/dispatch.h"

namespace memengine {

void usage_divergence(const Context& context, Tensor kl, const UniqueRows& unique,
                      std::int64_t table_rows) {
  MEMENGINE_ON_CUDA(context, cuda::usage_divergence(context, kl, unique, table_rows));
  const std::int32_t* offsets = unique.offsets.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
  const double picks = offsets[count];
  // A fixed number of partial sums, added in order: the same figure for any number of threads.
  std::array<double, 64> partials{};
  const std::int64_t parts = partials.size();
#pragma omp parallel for schedule(static)
  for (std::int64_t part = 0; part < parts; ++part) {
    double sum = 0;
    for (std::int64_t u = count * part / parts; u < count * (part + 1) / parts; ++u) {
      const double share = (offsets[u + 1] - offsets[u]) / picks;
      sum += share * std::log(share * static_cast<double>(table_rows));
    }
    partials[static_cast<std::size_t>(part)] = sum;
  }
  *kl.as<double>() = std::accumulate(partials.begin(), partials.end(), 0.0);
}

void count_usage(const Context& context, Tensor histogram, const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context, cuda::count_usage(context, histogram, unique));
  const std::int32_t* rows = unique.rows.as<std::int32_t>();
  const std::int32_t* offsets = unique.offsets.as<std::int32_t>();
  std::int32_t* counts = histogram.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
#pragma omp parallel for schedule(static)
  for (std::int64_t u = 0; u < count; ++u) counts[rows[u]] += offsets[u + 1] - offsets[u];
}

}  // namespace memengine
