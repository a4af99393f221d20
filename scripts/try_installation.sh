#!/usr/bin/env bash
# Tries an installation of kvtune as its user would.
#
#   scripts/try_installation.sh program PROGRAM   help, version, options in a file, a short search on the demo model, and
#                                                 one on the GPU where there is one and the program has kernels
#   scripts/try_installation.sh pages SHARE       man page, and completions in bash and zsh, in the folder share/
#
# It uses nothing of the clone: scripts/check_install.sh runs a copy of it where the clone is out of sight.
set -euo pipefail

fail() { printf 'error: try_installation.sh: %s\n' "$*" >&2; exit 1; }

# expect TEXT COMMAND...: the command succeeds and prints the text.
expect() {
  local text="$1" printed
  shift
  printed="$("$@")" || fail "$* failed"
  [[ "$printed" == *"$text"* ]] || fail "$*: found \"$printed\", expected \"$text\""
}

try_program() {
  local program="$1" data folder fact
  folder="$(mktemp -d)"
  cd "$folder"
  expect "Usage: kvtune" "$program" --help
  expect "libtorch:     2." "$program" --version
  for fact in commit "CUDA kernels" pagmo2 compiler; do
    expect $'\n'"$fact: " "$program" --version
  done
  data="$("$program" --version | sed -n 's/^data: *//p')"
  [ -e "$data/demo_model/config.json" ] || fail "kvtune --version: found the data folder \"$data\", expected one with demo_model"
  printf 'max-prompts = 4\npopulation = 8\ngenerations = 2\nno-refine = true\n' > options.toml
  expect "population = 8" "$program" search --model "$data/demo_model" --config options.toml --print-config
  expect "uniform" "$program" search --model "$data/demo_model" --config options.toml --out run --device cpu -q
  expect "KV8" "$program" pareto list run
  expect "eff. bits" "$program" pareto pick run --max-bits 8
  expect '"title"' "$program" check --schema
  if nvidia-smi -L 2>/dev/null | grep -q GPU && ! "$program" --version | grep -q '^CUDA kernels: *none'; then
    expect "uniform" "$program" search --model "$data/demo_model" --config options.toml --out run-gpu --device cuda -q
    expect "KV8" "$program" pareto list run-gpu
    echo "searched on $(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)"
  fi
  cd /
  rm -rf "$folder"
}

# Types LINE and a tab into an interactive zsh that has the function in FOLDER, and prints what zsh shows.
complete_in_zsh() {
  timeout 30 zsh -f -c '
    zmodload zsh/zpty
    zpty shell TERM=dumb zsh -f -i
    zpty -w shell "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D; PS1=; print ready-\$((1 + 1))"
    zpty -r -m shell seen "*ready-2*"
    zpty -w -n shell "$2"$'"'\\t'"'
    zpty -r -m shell seen "*$3*" && print -r -- "$seen"
  ' zsh "$1" "$2" "$3"
}

# Completes words, the last one of which is unfinished, in a bash that has read FILE.
complete_in_bash() {
  bash -c '
    source "$1"
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _kvtune
    echo "${COMPREPLY[*]}"
  ' bash "$@"
}

try_pages() {
  local share="$1" page bash zsh
  page="$(find "$share/man/man1" -name 'kvtune.1*')"
  [ -n "$page" ] || fail "found no man page in $share/man/man1"
  expect "evaluations" env MANPAGER=cat man -l "$page"
  local warnings
  warnings="$(LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)"
  [ -z "$warnings" ] || fail "man: $warnings"
  bash="$share/bash-completion/completions/kvtune"
  expect "search" complete_in_bash "$bash" kvtune sea
  expect "pick" complete_in_bash "$bash" kvtune pareto pi
  expect "bfloat16" complete_in_bash "$bash" kvtune search --dtype bf
  expect "--max-tokens" complete_in_bash "$bash" kvtune search --max-t
  zsh="$(find "$share/zsh" -name _kvtune)"
  [ -n "$zsh" ] || fail "found no _kvtune in $share/zsh"
  expect "pareto pick" complete_in_zsh "$(dirname "$zsh")" "kvtune pareto pi" "pick"
  expect "search --max-tokens" complete_in_zsh "$(dirname "$zsh")" "kvtune search --max-t" "tokens"
}

case "${1:-}" in
  program) try_program "$2" ;;
  pages) try_pages "$2" ;;
  *) sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0" ;;
esac
