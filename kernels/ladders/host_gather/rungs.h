// A ladder to the gather from a table in host memory (kernels/table/host_gather/host_gather.h),
// from the obvious way on.
//
//     in_order    the picks' rows one after the other, each read as often as it is picked
//     distinct    after de-duplication: each row once, in ascending order
//     one_buffer  the processor's threads gather into page-locked memory, which is copied
//     afterwards
//
// The table's `hi` is in host memory, mapped where there is a GPU. Rows are the BF16 numbers that
// stand there.
#pragma once

#include <cstdint>

#include "kernels/table/value_rows.h"

namespace memengine::ladders {

// out [P, v_dim] bf16: row p = table row picks[p] [P] i32.
void in_order(const Context& context, Tensor out, const ValueRows& table, Tensor picks);

// out [capacity, v_dim] bf16: row u = table row unique.rows[u], u < unique.count.
void distinct(const Context& context, Tensor out, const ValueRows& table, const UniqueRows& unique);

// The same by the processor. `list` [capacity + 1] i32 and `buffer` [capacity, v_dim] bf16 are
// page-locked memory, for a GPU; the caller keeps them and this object until the stream is done.
struct OneBuffer {
  ValueRows table;
  Tensor list, buffer;
};
void one_buffer(const Context& context, Tensor out, OneBuffer& task, const UniqueRows& unique);

namespace cuda {
decltype(ladders::in_order) in_order;
decltype(ladders::distinct) distinct;
}  // namespace cuda

}  // namespace memengine::ladders
