// Binds the keys of the `model` section, in the order in which config.yaml is written.
#pragma once

#include "io/config/config_reader.h"
#include "model/model_config.h"

namespace memengine {

void bind_model(ConfigReader& reader, ModelConfig& model);

}  // namespace memengine
