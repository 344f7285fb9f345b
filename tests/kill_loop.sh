#!/bin/bash
# Kills a training run with SIGKILL at random moments, starts it again each time with the same
# command, and compares what is left in the end with a run that nobody disturbed: every loss of
# metrics.jsonl and every byte of the last checkpoint.
#
#   tests/kill_loop.sh PROGRAM [KILLS] [SEED] [CACHE_GIB]
#
# A checkpoint is written every second step, so that many kills fall into a save; increments, full
# checkpoints and the removal of old ones all take part. With CACHE_GIB the killed run's table is a
# host table with so large a cache; the undisturbed run has none, so that a row which a save
# forgets in the area shows. 0.00005 holds 124 rows, a part of what a step updates.
set -eu
program=$(realpath "$1")
kills=${2:-200}
RANDOM=${3:-1}
table=()
if [ $# -ge 4 ]; then
  memory=model.productkey_args
  table=("$memory.zero_copy=true" "$memory.cache_gib=$4")
fi
. "$(dirname "$0")/kill_loop_run.sh"

during_save=0
for kill in $(seq "$kills"); do
  "$program" train config.yaml "${table[@]}" > out.txt 2> error.txt &
  pid=$!
  # Every second kill comes after a step of this very start, however slow the machine is, so that
  # the loop moves on; the others at any moment, the start-up's too.
  if [ $((kill % 2)) = 0 ]; then wait_for_a_step $pid; fi
  sleep "0.$(printf '%03d' $((RANDOM % 350)))"
  if ! kill -9 $pid 2> /dev/null; then
    echo "kill $kill: the run ended by itself:" >&2
    cat out.txt error.txt >&2
    exit 1
  fi
  wait $pid 2> /dev/null || true
  if [ -s error.txt ]; then
    echo "kill $kill: the restart complained:" >&2
    cat error.txt >&2
    exit 1
  fi
  if grep -q "passing over" out.txt; then
    echo "kill $kill: a checkpoint was damaged:" >&2
    cat out.txt >&2
    exit 1
  fi
  if ls -d run/checkpoints/.saving-* > /dev/null 2>&1; then during_save=$((during_save + 1)); fi
done
reached=$(newest)
step=$((10#${reached:-0} + 10))
"$program" train config.yaml "${table[@]}" steps=$step > out.txt
"$program" train config.yaml steps=$step dump_dir=whole checkpoint.dump.every=0 > /dev/null
"$program" train config.yaml steps=$step dump_dir=again > /dev/null

losses() { grep -o '"loss/out": [^,]*' "$1/metrics.jsonl"; }
[ "$(losses run | wc -l)" = "$step" ] || { echo "$(losses run | wc -l) losses of $step" >&2; exit 1; }
cmp <(losses run) <(losses whole)
last=$(printf '%010d' "$step")
for file in model.safetensors optimizer.safetensors; do
  cmp "run/checkpoints/$last/$file" "again/checkpoints/$last/$file"
done
"$program" inspect run > inspect.txt
grep -q "agrees with its checksum" inspect.txt
echo "$kills kills, $during_save of them during a save, $step steps: the same to the last bit"
