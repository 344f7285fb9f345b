// Writes a model for other programs: one safetensors file and what describes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/model_files/model_source.h"

namespace memengine {

enum class ExportFormat {
  reference,     // model.safetensors with the reference's names, value tables included; config.yaml
  hugging_face,  // model.safetensors and config.json of a Llama; dense models only
};

// Reads `source` and writes F32 weights into `folder`, which is made: the values that the forward
// pass reads, so rows of value tables as their BF16 (unless mem_value_dtype is fp32). The
// tokenizer's file, where there is one, is copied beside them (tokenizer.model or tokenizer.json);
// Hugging Face's form has the tokenizer in its form too, with BOS in front of texts if the source's
// texts have it. Checksums of all lie beside them and are verified when the weights are read
// (io/checkpoints/safetensors.h). What is written can be read back (model_source.h) and gives the
// same logits. Returns the bytes written. Input errors: as for reading `source`; a folder that is
// not ours or holds a model already; memory layers in Hugging Face's form.
std::uint64_t export_model(const ModelSource& source, ExportFormat format,
                           const std::filesystem::path& folder);

}  // namespace memengine
