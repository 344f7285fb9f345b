#!/bin/bash
# Kills a random rank of a training run of several CPU ranks with SIGKILL at random moments, starts
# the run again each time with the same command, and compares what is left in the end with a run of
# as many ranks that nobody disturbed: every loss of metrics.jsonl and every byte of the last
# checkpoint. After each kill all ranks must be gone within 15 seconds, by themselves, and those that
# were at work must have named the one that died.
#
#   tests/kill_loop_ranks.sh PROGRAM [KILLS] [RANKS] [SEED]
#
# A checkpoint is written every second step by all ranks together, so that many kills fall into a
# save.
set -eu
program=$(realpath "$1")
kills=${2:-100}
ranks=${3:-2}
RANDOM=${4:-1}
. "$(dirname "$0")/kill_loop_run.sh"

# Each rank leaves its process id, so that one can be chosen.
cat > rank.sh << 'RANK'
#!/bin/bash
echo $$ > "pid.$OMPI_COMM_WORLD_RANK"
exec "$@"
RANK
chmod +x rank.sh
as_ranks() { mpirun --oversubscribe --allow-run-as-root -n "$ranks" ./rank.sh "$program" train "$@"; }

during_save=0
named=0
for kill in $(seq "$kills"); do
  rm -f pid.*
  as_ranks config.yaml > out.txt 2> error.txt &
  launcher=$!
  while [ "$(ls pid.* 2> /dev/null | wc -l)" -lt "$ranks" ]; do sleep 0.01; done
  # Every second kill comes after a step of this very start, however slow the machine is; the others
  # at any moment, the meeting's too.
  if [ $((kill % 2)) = 0 ]; then wait_for_a_step $launcher; fi
  sleep "0.$(printf '%03d' $((RANDOM % 1000)))"
  victim=$((RANDOM % ranks))
  kill -9 "$(cat pid.$victim)" || { echo "kill $kill: the run ended by itself:" >&2; cat out.txt error.txt >&2; exit 1; }
  for wait in $(seq 150); do
    left=0
    for file in pid.*; do if runs "$(cat "$file")"; then left=$((left + 1)); fi; done
    [ "$left" = 0 ] && break
    sleep 0.1
  done
  [ "$left" = 0 ] || { echo "kill $kill: $left ranks still run after 15 s" >&2; exit 1; }
  # Open MPI's own end sometimes waits for itself after a rank has died: that is not ours to wait for.
  for wait in $(seq 50); do runs $launcher || break; sleep 0.1; done
  kill -9 $launcher 2> /dev/null || true
  wait $launcher 2> /dev/null || true
  if grep -q "rank $victim (process .*has died" error.txt; then named=$((named + 1)); fi
  if grep -q "passing over" out.txt; then
    echo "kill $kill: a checkpoint was damaged:" >&2
    cat out.txt >&2
    exit 1
  fi
  if ls -d run/checkpoints/.saving-* > /dev/null 2>&1; then during_save=$((during_save + 1)); fi
done
reached=$(newest)
step=$((10#${reached:-0} + 10))
as_ranks config.yaml steps=$step > out.txt
as_ranks config.yaml steps=$step dump_dir=whole checkpoint.dump.every=0 > /dev/null
as_ranks config.yaml steps=$step dump_dir=again > /dev/null

losses() { grep -o '"loss/out": [^,]*' "$1/metrics.jsonl"; }
[ "$(losses run | wc -l)" = "$step" ] || { echo "$(losses run | wc -l) losses of $step" >&2; exit 1; }
cmp <(losses run) <(losses whole)
last=$(printf '%010d' "$step")
for file in run/checkpoints/"$last"/*.safetensors; do
  cmp "$file" "again/checkpoints/$last/$(basename "$file")"
done
"$program" inspect run > inspect.txt
grep -q "agrees with its checksum" inspect.txt
echo "$ranks ranks, $kills kills, $during_save of them during a save, $named named by the others," \
  "$step steps: the same to the last bit"
