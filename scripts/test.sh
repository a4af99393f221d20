#!/usr/bin/env bash
# Runs all tests: set-up, the Python oracles, build, ctest.
#
#   scripts/test.sh [--cpu | --cuda] [--no-oracles] [--asan] [--tsan] [--fuzz] [--install] [--unity] [-- OPTION of ctest...]
#
#   --no-oracles  leaves out the comparisons with transformers, tokenizers and others (5 GB of packages)
#   --asan        also runs the torch-free tests under the address, leak and undefined-behaviour sanitizers
#   --fuzz        runs the torch-free tests under these sanitizers alone, compiled by clang in build/fuzz, and each fuzzer
#                 for 20 seconds (scripts/fuzz.sh)
#   --tsan        also runs those of them that use threads under the thread sanitizer
#   --unity       compiles the sources of a folder together: quicker from nothing, slower after a change
#   --install     also installs what was built, by prefix, Debian package and wheel (scripts/check_install.sh, as root)
#
# --fuzz and --tsan need clang 19, which set-up installs where it can be had. Without it --fuzz runs these tests as GCC
# compiles them in build/asan, and --tsan is left out.
#
# --cpu and --cuda are those of scripts/setup.sh. With CI=true in the environment warnings are errors.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flavour="$(detect_flavour)"
oracles=yes
asan=no
install=no
tsan=no
fuzz=no
options=()
FUZZ_SECONDS=20
while [ $# -gt 0 ]; do
  case "$1" in
    --cpu) flavour=cpu ;;
    --cuda) flavour=cuda ;;
    --no-oracles) oracles=no ;;
    --asan) asan=yes ;;
    --tsan) tsan=yes ;;
    --fuzz) fuzz=yes ;;
    --install) install=yes ;;
    --unity) options+=(-DKVTUNE_UNITY=ON) ;;
    --) shift; break ;;
    -h | --help) show_help ;;
    *) die "test.sh: found the option $1, expected --cpu, --cuda, --no-oracles, --asan, --tsan, --fuzz, --install, --unity or --" ;;
  esac
  shift
done

[ "${CI:-}" != true ] || options+=(-DKVTUNE_WERROR=ON)

setup_options=("--$flavour")
[ "$tsan$fuzz" = nono ] || setup_options+=(--fuzz)
if [ "$oracles" = yes ]; then
  "$KVTUNE_ROOT/scripts/setup.sh" "${setup_options[@]}" --oracles
  oracle_python="$(oracles_directory)/bin/python"
else
  "$KVTUNE_ROOT/scripts/setup.sh" "${setup_options[@]}"
  oracle_python=""
  say "--no-oracles: skipping the comparisons with transformers, tokenizers and others (scripts/oracles/)"
fi

# The last ctest takes the torch-free tests of this build, where they are compiled for the sanitizers: a build takes minutes.
sanitized=""
[ "$fuzz" = no ] || sanitized=fuzz
if [ "$tsan$fuzz" != nono ] && ! command -v clang++-19 >/dev/null; then
  say "found no clang++-19: --fuzz compiles with GCC and without fuzzers, and --tsan is left out"
  [ "$fuzz" = no ] || sanitized=asan
  tsan=no
  fuzz=no
fi

if [ "$asan" = yes ] && [ "$sanitized" != asan ]; then
  say "building and testing (build/asan)"
  configure_and_build asan "$flavour" ${options[@]+"${options[@]}"}
  (cd "$KVTUNE_ROOT" && ctest --preset asan -j "$(nproc)")
fi
if [ "$tsan" = yes ]; then
  say "building and testing (build/tsan)"
  cmake --preset tsan -S "$KVTUNE_ROOT" ${options[@]+"${options[@]}"} >&2
  (cd "$KVTUNE_ROOT" && cmake --build --preset tsan >&2 && ctest --preset tsan -j "$(nproc)")
fi
if [ -n "$sanitized" ]; then
  say "building (build/$sanitized)"
  configure_and_build "$sanitized" "$flavour" ${options[@]+"${options[@]}"}
fi

say "building (build/dev)"
configure_and_build dev "$flavour" -DKVTUNE_ORACLES_PYTHON="$oracle_python" ${options[@]+"${options[@]}"} \
  -DKVTUNE_TORCH_FREE_TESTS_FROM="${sanitized:+$KVTUNE_ROOT/build/$sanitized}"
[ "$fuzz" = no ] || "$KVTUNE_ROOT/scripts/fuzz.sh" --no-build --seconds "$FUZZ_SECONDS" --seed 1
[ "$install" = no ] || "$KVTUNE_ROOT/scripts/check_install.sh" --build "$KVTUNE_ROOT/build/dev" prefix deb wheel
cd "$KVTUNE_ROOT"
ctest --preset dev -j "$(nproc)" "$@"
