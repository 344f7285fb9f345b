# Sourced by the kill loops: makes a folder that goes when the shell ends, enters it, and leaves there
# prepared data and config.yaml, a small run that saves every second step. Needs $program. What the
# loops ask about a run and its checkpoints stands at the end.
export OMP_NUM_THREADS=1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for i in $(seq 0 19); do
  words=""
  for word in $(seq 0 $((10 + 7 * i))); do
    words+="the $([ $((word % 3)) = 0 ] && echo quick || echo lazy)"
    words+="$([ $((word % 5)) = $((i % 5)) ] && echo ' fox ' || echo ' dog ')"
  done
  echo "{\"text\": \"$words\"}"
done > texts.jsonl
cat > config.yaml << 'YAML'
name: killed
dump_dir: run
seed: 7
steps: 100000
device: cpu
optim: {lr: 3e-3, warmup: 10, scheduler: constant}
model:
  dim: 32
  n_layers: 2
  n_heads: 2
  multiple_of: 32
  productkey_args: {is_enabled: true, layers: "1", mem_n_keys: 64, mem_heads: 2, mem_knn: 4,
                    mem_k_dim: 16, mem_query_norm: batchnorm, value_weight_decay: 0.1}
data: {root_dir: data, batch_size: 2, seq_len: 33, tokenizer: {name: bytes}}
checkpoint: {dump: {every: 2, keep: 2}}
logging: {freq: 1}
YAML
"$program" prepare texts.jsonl --tokenizer bytes --out data > /dev/null

# What has ended and is only not yet asked for its exit code does not run.
runs() { grep -q '^State:.[^Z]' "/proc/$1/status" 2> /dev/null; }
# The newest whole checkpoint's step; nothing before the first.
newest() { ls run/checkpoints 2> /dev/null | grep -E '^[0-9]{10}$' | tail -1; }
# Waits until the run writes a further step, or until its process is gone.
wait_for_a_step() {
  local before
  before=$(steps_written)
  until [ "$(steps_written)" -gt "$before" ] || ! runs "$1"; do sleep 0.01; done
}
steps_written() { cat run/metrics.jsonl 2> /dev/null | wc -l; }
