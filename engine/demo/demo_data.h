// The demo's data and configs: biographies, questions, tokenizer and shards in <out>/data.
#pragma once

#include <functional>
#include <string>

#include "engine/config/config.h"
#include "engine/demo/demo.h"
#include "io/files/file.h"

namespace memengine {

// The config of model "memory" or "dense", with its paths in options.out. Input error when it has
// no memory at all.
RunConfig demo_run_config(const DemoOptions& options, const std::string& model);

// Makes what is missing; fills `corpus`. The same options give the same files. False when stopped.
bool prepare_demo_data(const DemoOptions& options, const RunConfig& config, DemoCorpus& corpus,
                       DemoListener& listener, const std::function<bool()>& stop);

}  // namespace memengine
