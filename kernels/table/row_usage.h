// How the memory is used: without these figures nobody notices that a memory layer is dead.
//
// If the P picks of a batch hit row u c_u times, p_u = c_u / P, then the Kullback-Leibler
// divergence to uniform use of R rows is  sum_u p_u log(p_u R)  in nats: 0 when every row is picked
// equally, log R when one row gets everything (Lample et al. 2019, section 4.3).
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

// kl [1] f64 of the batch whose picks were de-duplicated into `unique`, over `table_rows` rows.
// Takes `usage_divergence_scratch_bytes` of scratch memory: a partial sum for each of 32 blocks.
void usage_divergence(const Context& context, Tensor kl, const UniqueRows& unique,
                      std::int64_t table_rows);

inline constexpr std::int64_t usage_divergence_scratch_bytes = 32 * sizeof(double);

// histogram [table_rows] i32 += number of picks of each row. For long windows (validation).
void count_usage(const Context& context, Tensor histogram, const UniqueRows& unique);

namespace cuda {
decltype(memengine::usage_divergence) usage_divergence;
decltype(memengine::count_usage) count_usage;
}  // namespace cuda

}  // namespace memengine
