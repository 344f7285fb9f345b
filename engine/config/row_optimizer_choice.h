// The row optimizer that a config's model.productkey_args.value_optimizer means.
#pragma once

#include "model/model_config.h"
#include "optim/row_optimizer.h"

namespace memengine {

const RowOptimizer& row_optimizer(const ProductKeyConfig& memory);

}  // namespace memengine
