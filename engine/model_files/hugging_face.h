// Hugging Face's form of Llama models: config.json and model.safetensors, in and out.
//
// Read like the ecosystem reads: model.safetensors goes before shards with an index; an lm_head
// that differs from the embedding is used whatever tie_word_embeddings says; eos_token_id (one or
// several) of generation_config.json, or else of config.json, ends a generation.
// Three things differ from the reference's form: the names; the order of the rows of wq and wk; and
// what a missing output matrix means (tied to the embedding). Rotary pairs are (i, i + head_dim/2)
// there and (2i, 2i + 1) here, so the rows of each head are dealt into the other order.
// Supported: Llama, Mistral, Qwen2 (query, key and value biases) and Qwen3 (query and key norms),
// rope scaling of the kinds linear and llama3; one file or several with an index; F32, F16 and BF16
// weights. Everything else is one clear input error.
#pragma once

#include <filesystem>

#include "engine/model_files/model_source.h"
#include "engine/model_files/weight_reader.h"
#include "io/checkpoints/safetensors.h"
#include "kernels/runtime/context.h"
#include "model/transformer.h"

namespace memengine {

// Reads config.json, and which tokenizer stands beside it.
ModelSource find_hugging_face(const std::filesystem::path& folder);

// Reads the weights of a model of the folder's config. Input errors name file and tensor: missing,
// of another shape or dtype, or without a place in the model. With `report` the model may be
// another one: what is missing is left as it is, and what has no place too.
void load_hugging_face(const Context& context, const std::filesystem::path& folder,
                       Transformer& transformer, WeightsReport* report = nullptr);

// Writes config.json and model.safetensors (F32) into a folder, which is made. `source` says what
// the weights are of. Input error for a model with memory layers: that form has no place for them.
void write_hugging_face(const Context& context, const std::filesystem::path& folder,
                        const Transformer& transformer, const Tokenizer* tokenizer,
                        const SafetensorsWriting& writing = {});

}  // namespace memengine
