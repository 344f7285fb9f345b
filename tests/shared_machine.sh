#!/bin/bash
# What a shared machine costs: tokens a second of a small training run alone, beside one other busy
# process on each core, and beside a second run; in turns, medians at the end. By hand, on a machine
# that nothing else uses, because it measures time:
#
#   tests/shared_machine.sh [BUILD/memengine] [ROUNDS] [BASELINE_PROGRAM]
#
# Fair are half of the speed alone beside busy processes, and half each for two runs. With a
# baseline, another build of the program, the two run alone in interleaved pairs.
set -eu
program=$(realpath "${1:-./memengine}")
rounds=${2:-5}
baseline=${3:+$(realpath "$3")}
folder=$(mktemp -d -p /dev/shm)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

"$program" synth --people 100 --out text >/dev/null
"$program" prepare text/biographies.jsonl --tokenizer bytes --out data >/dev/null
cat >config.yaml <<'YAML'
name: shared
device: cpu
steps: 60
optim: {lr: 4e-3, warmup: 10}
distributed: {model_dtype: fp32}
model:
  dim: 64
  n_layers: 4
  n_heads: 4
  multiple_of: 16
  productkey_args: {is_enabled: true, layers: "1,2", mem_n_keys: 96, mem_heads: 4, mem_knn: 20,
                    mem_k_dim: 32, mem_query_norm: batchnorm}
data: {root_dir: data, batch_size: 8, seq_len: 128, tokenizer: {name: bytes}}
checkpoint: {dump: {every: 0}}
logging: {freq: 60}
YAML

# The tokens a second of the last report of one run.
speed() {
  local run
  run=$(mktemp -d -p "$folder")
  "$1" train config.yaml dump_dir="$run" >/dev/null
  sed -n 's/.*"speed\/wps": \([0-9.e+]*\).*/\1/p' "$run/metrics.jsonl" | tail -1
}
median() { sort -g | awk '{ x[NR] = $1 } END { print int((x[int((NR + 1) / 2)] + x[int(NR / 2 + 1)]) / 2) }'; }

for _ in $(seq "$rounds"); do
  [ -z "$baseline" ] || speed "$baseline" >>baseline
  speed "$program" >>alone
done
for core in $(seq 0 $(($(nproc) - 1))); do
  taskset -c "$core" sh -c 'while :; do :; done' &
  busy="${busy:-} $!"
done
for _ in $(seq "$rounds"); do speed "$program" >>beside_busy; done
kill $busy
for _ in $(seq "$rounds"); do
  speed "$program" >>two_runs &
  other=$!
  speed "$program" >>two_runs
  wait $other
done
for case in baseline alone beside_busy two_runs; do
  [ -f "$case" ] && printf '%-12s %8d tokens/s   (%s)\n' "$case" "$(median <"$case")" \
    "$(sort -g "$case" | awk '{ printf "%s%d", (NR > 1 ? " " : ""), $1 }')"
done
