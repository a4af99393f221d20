#!/usr/bin/env bash
# Builds the fuzzers of tests/fuzz and runs them side by side. Exits with 1 when one of them finds something.
#
#   scripts/fuzz.sh [--seconds N] [--seed N] [--jobs J] [--corpus DIR] [--unity] [--no-build] [--binaries DIR] [FUZZER...]
#   scripts/fuzz.sh --bundle DIR
#
#   --seconds N     each fuzzer runs this long (default 20)
#   --seed N        draws the same random numbers again (default: others each time)
#   --jobs J        this many run at a time (default: one for each processor)
#   --corpus DIR    what they learn is kept in DIR/FUZZER, and a later run goes on from there (default: build/fuzz/corpus)
#   --unity         compiles the sources of a folder together: quicker from nothing, slower after a change
#   --no-build      runs what was built before
#   --binaries DIR  runs the programs of DIR: build/fuzz, or what --bundle made
#   --bundle DIR    makes a folder that runs on another machine without compiler and network: stripped programs, the
#                   libraries that they need beside the C and C++ ones, dictionaries and seeds. To run them:
#                   scripts/fuzz.sh --no-build --binaries DIR
#   FUZZER...       these alone, such as tokenizer (default: all)
#
# A find is a crash, a report of a sanitizer, an exception that is no Error, a broken promise, an input that hangs, or one
# that takes more time of a processor or more memory than tests/fuzz/fuzzer.h allows. Its input is kept in DIR/finds/FUZZER of the
# corpus; DIR/FUZZER.log tells the rest. Building needs clang 19 (scripts/setup.sh --fuzz).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

TIMEOUT=60         # seconds on the wall after which an input is taken for one that hangs
LONGEST=65536      # bytes of an input
MOST_FINDS=5       # a fuzzer that found as many stops
seconds=20
seed=0             # 0: another one each time
jobs="$(nproc)"
binaries="$KVTUNE_ROOT/build/fuzz"
corpus=""
bundle=""
build=yes
options=()
fuzzers=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds="$2"; shift ;;
    --seed) seed="$2"; shift ;;
    --jobs) jobs="$2"; shift ;;
    --corpus) corpus="$2"; shift ;;
    --binaries) binaries="$2"; shift ;;
    --bundle) bundle="$2"; shift ;;
    --unity) options+=(-DKVTUNE_UNITY=ON) ;;
    --no-build) build=no ;;
    -h | --help) show_help ;;
    -*) die "fuzz.sh: found the option $1, expected one of scripts/fuzz.sh --help" ;;
    *) fuzzers+=("$1") ;;
  esac
  shift
done

if [ "$build" = yes ]; then
  command -v clang++-19 >/dev/null || die "fuzz.sh: found no clang++-19, expected it; install: scripts/setup.sh --fuzz"
  say "building (build/fuzz)"
  cmake --preset fuzz -S "$KVTUNE_ROOT" ${options[@]+"${options[@]}"} >&2
  cmake --build "$KVTUNE_ROOT/build/fuzz" --target fuzzers >&2
fi
[ -d "$binaries/fuzzers" ] || die "fuzz.sh: found no $binaries/fuzzers, expected the built fuzzers"

# make_bundle FOLDER: see --bundle.
make_bundle() {
  local folder="$1" program library
  rm -rf "$folder"
  mkdir -p "$folder/fuzzers/lib"
  cp -r "$binaries/seeds" "$folder/seeds"
  cp "$binaries"/fuzzers/*.dict "$folder/fuzzers"
  for program in "$binaries"/fuzzers/*.dict; do
    program="${program%.dict}"
    strip -o "$folder/fuzzers/$(basename "$program")" "$program"
    ldd "$program" | awk '$3 ~ /^\// {print $3}'
  done | sort -u | while read -r library; do
    case "$(basename "$library")" in
      libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | libresolv.so* | libgcc_s.so* | libstdc++.so*) ;;
      *) cp -L "$library" "$folder/fuzzers/lib" ;;
    esac
  done
  say "$folder: $(du -sm "$folder" | cut -f1) MiB; to run it: scripts/fuzz.sh --no-build --binaries $folder"
}

if [ -n "$bundle" ]; then
  make_bundle "$bundle"
  exit 0
fi

if [ ${#fuzzers[@]} = 0 ]; then
  for file in "$binaries"/fuzzers/*.dict; do fuzzers+=("$(basename "$file" .dict)"); done
fi
[ -n "$corpus" ] || corpus="$binaries/corpus"
mkdir -p "$corpus"
results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT
export ASAN_OPTIONS="quarantine_size_mb=16:malloc_context_size=12:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"

# run_fuzzer NAME: runs it for its seconds, going on after a find, and writes a line of the table to $results/NAME.
run_fuzzer() {
  local name="$1" log="$corpus/$1.log" finds="$corpus/finds/$1" end=$((SECONDS + seconds)) found=0 left
  mkdir -p "$corpus/$name" "$finds"
  : > "$log"
  while left=$((end - SECONDS)); [ "$left" -gt 0 ] && [ "$found" -lt "$MOST_FINDS" ]; do
    if "$binaries/fuzzers/$name" -seed="$seed" -max_total_time="$left" -timeout="$TIMEOUT" -max_len="$LONGEST" -rss_limit_mb=2560 \
      -dict="$binaries/fuzzers/$name.dict" -artifact_prefix="$finds/" -print_final_stats=1 \
      "$corpus/$name" "$binaries/seeds/$name" >> "$log" 2>&1; then
      break
    fi
    found=$((found + 1))
  done
  local runs edges inputs
  runs="$(awk '/^stat::number_of_executed_units/ {sum += $2} END {print sum + 0}' "$log")"
  edges="$(grep -o ' cov: [0-9]*' "$log" | tail -1 | tr -dc 0-9 || true)"
  inputs="$(find "$corpus/$name" -type f | wc -l)"
  printf '%-18s %12s %8s %8s %6s\n' "$name" "$runs" "${edges:--}" "$inputs" "$found" > "$results/$name"
}

for name in "${fuzzers[@]}"; do
  [ -x "$binaries/fuzzers/$name" ] || die "fuzz.sh: found no fuzzer $name in $binaries/fuzzers, expected one of its programs"
done
say "${#fuzzers[@]} fuzzers for $seconds s each, $jobs at a time"
running=0
for name in "${fuzzers[@]}"; do
  if [ "$running" -ge "$jobs" ]; then
    wait -n
    running=$((running - 1))
  fi
  run_fuzzer "$name" &
  running=$((running + 1))
done
wait
for name in "${fuzzers[@]}"; do
  [ -e "$results/$name" ] || die "fuzz.sh: found no result of $name, expected one: the messages above say why"
done

printf '%-18s %12s %8s %8s %6s\n' fuzzer executions edges inputs finds
cat "$results"/*
finds="$(awk '{sum += $5} END {print sum + 0}' "$results"/*)"
[ "$finds" = 0 ] || die "fuzz.sh: found $finds inputs that a reader does not bear, expected none: $corpus/finds, and the logs in $corpus"
