#!/usr/bin/env bash
# Everything that needs a GPU, in one call: build, all tests, the memory checkers, the benchmark.
#
#   .ci/gpu.sh [build] [test] [sanitize] [bench]      default: all four
#
# What an older GPU runs, from PTX of 8.0 that the driver compiles here:
#
#   BUILD=build-ampere ARCHITECTURES=80-virtual CHECKERS=memcheck .ci/gpu.sh build test sanitize
#
# Logs and the benchmark's JSON go to $OUT (default: build-gpu/out). Exit status: the first failure's.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build-gpu}
out=${OUT:-$build/out}
steps=${*:-build test sanitize bench}
checkers=${CHECKERS:-memcheck racecheck initcheck}
shards=$(seq 0 $((${SHARDS:-3} - 1)))  # processes that a program's tests are dealt out to
mkdir -p "$out"
status=0
note() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
keep() { [ "$1" -eq 0 ] || { [ $status -ne 0 ] || status=$1; echo "FAILED: $2 ($1)"; }; }

for step in $steps; do
  case $step in
    build)
      note build
      cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        ${ARCHITECTURES:+"-DCMAKE_CUDA_ARCHITECTURES=$ARCHITECTURES"} >"$out/configure.log" 2>&1 ||
        { tail -20 "$out/configure.log"; exit 1; }
      ninja -k 20 -C "$build" >"$out/build.log" 2>&1
      result=$?
      keep $result build
      if [ $result -ne 0 ]; then grep -E "error|FAILED|undefined" "$out/build.log" | head -40; fi
      ;;
    test)
      note test
      for program in "$build"/test_*; do
        [ -x "$program" ] && [ -f "$program" ] || continue
        name=$(basename "$program")
        timeout 300 "$program" --gtest_brief=1 >"$out/$name.log" 2>&1
        keep $? "$name"
        echo "$name: $(grep -E '^\[  (PASSED|FAILED)' "$out/$name.log" | head -1)"
        grep -E "^\[  FAILED  \]" "$out/$name.log" | sort -u | head -30
      done
      ;;
    sanitize)
      note sanitize
      # The checkers share the GPU and wait for the host most of the time, so each program's tests
      # are dealt out to several processes.
      for tool in $checkers; do
        # Racecheck leaves out the products of cuBLASLt, in whose kernels it does not see the barriers.
        without=
        [ $tool != racecheck ] || without=':-*AMeasuredChoice*'
        for name in test_kernels test_optim; do
          for shard in $shards; do
            (GTEST_TOTAL_SHARDS=${SHARDS:-3} GTEST_SHARD_INDEX=$shard timeout 400 compute-sanitizer \
              --tool $tool --error-exitcode 9 --print-limit 5 "$build/$name" --gtest_brief=1 \
              --gtest_filter="*cuda*$without" >"$out/$tool.$name.$shard.log" 2>&1
              echo $? >"$out/$tool.$name.$shard.status") &
          done
        done
      done
      wait
      for tool in $checkers; do
        for name in test_kernels test_optim; do
          for shard in $shards; do
            keep "$(cat "$out/$tool.$name.$shard.status")" "$tool $name, part $shard"
          done
          grep -hE '^\[  FAILED  \] .*cuda' "$out/$tool.$name".*.log | sort -u | head -30
          echo "$tool $name: $(grep -hE '^\[  PASSED' "$out/$tool.$name".*.log |
            awk '{tests += $4} END {print tests + 0}') tests passed," \
            "$(grep -hoE 'SUMMARY: [0-9]+ (errors|hazards)' "$out/$tool.$name".*.log | sort | uniq -c |
              awk '{print $1 " x " $3 " " $4}' | paste -sd ',')"
        done
      done
      ;;
    bench)
      note bench
      "$build/memengine" bench --json "$out/bench.json" 2>&1 | tee "$out/bench.log"
      keep $? bench
      ;;
  esac
done
note done
exit $status
