// What model.productkey_args.cache_gib says.
#pragma once

#include <cstdint>
#include <optional>

#include "model/model_config.h"

namespace memengine {

// Its bytes; none where it is null or auto. Input error where it is no number of 0 to 1024.
std::optional<std::int64_t> cache_bytes(const ProductKeyConfig& memory);
// It is auto.
bool cache_takes_free_memory(const ProductKeyConfig& memory);

}  // namespace memengine
