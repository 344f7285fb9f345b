// Which of a library's algorithms serves a matrix product on CUDA: the library's own first choice,
// or the fastest one as measured here.
//
// A measured choice depends on the day, and another algorithm may round differently. So only those
// count that give the first choice's result to the last bit (most do: they walk along the inner
// dimension in the same order, in tiles of another size). Whatever is chosen, the numbers are the
// same: on every rank, after a restart, with measuring on or off.
#pragma once

namespace memengine {

// For the whole process, for shapes of large BF16 products not met before: the host waits some
// milliseconds and memory for two results is taken meanwhile; where there is none, or the stream is
// being recorded, it is the first choice. On the CPU without effect.
void measure_products(bool on);
bool products_are_measured();

}  // namespace memengine
