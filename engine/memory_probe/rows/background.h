// How many batches of a corpus read each row: the background of sparse memory finetuning
// (kernels/table/choose_rows.h).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/memory_probe/lookup_reader.h"
#include "engine/memory_probe/probe_model.h"
#include "engine/model_files/initial/background_use.h"

namespace memengine {

// One entry for each table that memory layers read, in their order: a batch that reads a row
// through any of its readers counts once. A pass of `next` is a batch; at most `most` of them are
// read.
std::vector<DocumentFrequency> count_document_frequency(ProbeModel& model, std::int64_t most,
                                                        const NextPass& next);

}  // namespace memengine
