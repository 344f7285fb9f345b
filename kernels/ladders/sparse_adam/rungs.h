// A ladder to Adam on the rows of a value table (optim/sparse_adam.h), from the obvious way on.
//
//     whole_table   a gradient and a step of Adam for every row of the table
//     touched_rows  for the rows that the batch picked, and for no others
//
// Both keep weights and moments in three FP32 arrays, and the BF16 weights that the forward pass
// reads in a fourth. Without weight decay, and of rows whose moments are zero until a batch picks
// them, they do the same; for others a dense step goes on with moments that sparse Adam lets rest.
#pragma once

#include "kernels/table/deduplicate.h"

namespace memengine::ladders {

// All [rows, V], on the context's device or in host memory that it maps.
struct PlainTable {
  Tensor weights, first_moment, second_moment;  // f32
  Tensor read_weights;                          // bf16: weights, rounded
};

struct AdamConstants {
  float beta1 = 0.9F, beta2 = 0.95F, epsilon = 1e-8F;
  float learning_rate = 1e-3F;
  float bias_correction1 = 1 - 0.9F, bias_correction2 = 1 - 0.95F;  // of the first update
};

// row_gradients [capacity, V] f32, row u of table row unique.rows[u]. dense_gradients [rows, V] f32
// is working memory.
void whole_table(const Context& context, const PlainTable& table, Tensor dense_gradients,
                 const UniqueRows& unique, Tensor row_gradients, const AdamConstants& adam);
void touched_rows(const Context& context, const PlainTable& table, const UniqueRows& unique,
                  Tensor row_gradients, const AdamConstants& adam);

namespace cuda {
decltype(ladders::whole_table) whole_table;
decltype(ladders::touched_rows) touched_rows;
}  // namespace cuda

}  // namespace memengine::ladders
