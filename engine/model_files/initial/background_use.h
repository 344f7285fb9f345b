// How other text uses a model's rows, in files: for sparse memory finetuning
// (kernels/table/choose_rows.h).
//
// `memengine memory count` writes document_frequency.safetensors into the model's folder: for each
// value table `<table>.document_frequency` i32 [rows] and `<table>.background_batches` i32 [1]. A
// run that chooses rows keeps both in its checkpoints, in optimizer.safetensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model_files/model_source.h"
#include "kernels/runtime/context.h"
#include "model/transformer.h"

namespace memengine {

inline constexpr const char* document_frequency_file = "document_frequency.safetensors";

std::string document_frequency_name(const std::string& table);
std::string background_batches_name(const std::string& table);

// Of one table.
struct DocumentFrequency {
  std::string table;
  std::int32_t batches = 0;
  std::vector<std::int32_t> of_row;
};

// Into the folder of a model, in place of what was there. Input error where it cannot be written.
void write_document_frequencies(const std::filesystem::path& folder,
                                const std::vector<DocumentFrequency>& tables);

// Fills every bank's background from the file, or else from a checkpoint of a run that chose rows.
// Input errors: neither has them, other sizes.
void load_background(const Context& context, const ModelSource& source,
                     const Transformer& transformer);

// Works out the rest of a background whose frequencies and number of batches are there. Input error
// where they contradict each other.
void settle_background(const Context& context, const MemoryBank& bank, const std::string& where);

}  // namespace memengine
