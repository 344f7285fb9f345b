// The config reader under the whole schema: YAML from a stranger becomes a config or one line of
// refusal, and a config that was accepted reads back equal.
#include "engine/config/config.h"
#include "tests/fuzz/fuzz_target.h"

std::vector<std::string> fuzz_seeds() {
  const std::string small =
      "name: small\ndump_dir: run\nseed: 7\nsteps: 100\noptim: {lr: 3e-3, warmup: 10, scheduler: "
      "cosine}\nmodel:\n  dim: 32\n  n_layers: 2\n  n_heads: 2\n  productkey_args:\n    "
      "is_enabled: "
      "true\n    layers: \"1\"\n    mem_n_keys: 19\n    mem_knn: 8\ndata: {root_dir: data, "
      "batch_size: "
      "2, seq_len: 33, sources: {a: 0.5, b: 2}, tokenizer: {name: bytes}}\ncheckpoint: {dump: "
      "{every: "
      "25, keep: 2}}\nlogging: {freq: 1}\n";
  return {small,
          small + "eval: {harness: {tasks: [hellaswag, {task: piqa, num_fewshot: 3}]}}\n",
          "",
          "null",
          "name: two\n\n  lines\n",
          "[1, 2]",
          "a: &x [*x]\n",
          "a: &x 1\nb: *x\n",
          "model: {model: {model: {}}}",
          "steps: 1e6\nseed: '7'\nname: \"\\u00e9\"\n",
          "? {a: b}\n: c\n",
          "%YAML 1.2\n---\nname: x\n...\n---\nname: y\n",
          "dump_dir: |\n  several\n  lines\nsteps: 99999999999999999999\noptim.lr: .nan\n",
          std::string(40, '[') + std::string(40, ']'),
          "model: {dim: -1, n_heads: 0, head_dim: 3, norm_eps: -.inf}\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  fuzz_accepts([&] {
    const memengine::RunConfig config =
        memengine::parse_run_config(fuzz_text(bytes, size), "config");
    const std::string dumped = memengine::dump_config(config);
    fuzz_check(memengine::dump_config(memengine::parse_run_config(dumped, "dumped")) == dumped,
               "a dumped config reads back differently");
  });
  return 0;
}
