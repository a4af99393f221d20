#!/usr/bin/env bash
# Runs all tests: set-up, the Python oracles, build, ctest.
#
#   scripts/test.sh [--cpu | --cuda] [--no-oracles] [--asan] [--install] [-- OPTION of ctest...]
#
#   --no-oracles  leaves out the comparisons with transformers, tokenizers and others (5 GB of packages)
#   --asan        also runs the torch-free tests under the address and undefined-behaviour sanitizers
#   --install     also installs what was built, by prefix, Debian package and wheel (scripts/check_install.sh, as root)
#
# --cpu and --cuda are those of scripts/setup.sh. With CI=true in the environment warnings are errors.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flavour="$(detect_flavour)"
oracles=yes
asan=no
install=no
while [ $# -gt 0 ]; do
  case "$1" in
    --cpu) flavour=cpu ;;
    --cuda) flavour=cuda ;;
    --no-oracles) oracles=no ;;
    --asan) asan=yes ;;
    --install) install=yes ;;
    --) shift; break ;;
    -h | --help) show_help ;;
    *) die "test.sh: found the option $1, expected --cpu, --cuda, --no-oracles, --asan, --install or --" ;;
  esac
  shift
done

options=()
[ "${CI:-}" != true ] || options+=(-DKVTUNE_WERROR=ON)

if [ "$oracles" = yes ]; then
  "$KVTUNE_ROOT/scripts/setup.sh" "--$flavour" --oracles
  oracle_python="$(oracles_directory)/bin/python"
else
  "$KVTUNE_ROOT/scripts/setup.sh" "--$flavour"
  oracle_python=""
  say "--no-oracles: skipping the comparisons with transformers, tokenizers and others (scripts/oracles/)"
fi

if [ "$asan" = yes ]; then
  say "building and testing (build/asan)"
  configure_and_build asan "$flavour" ${options[@]+"${options[@]}"}
  ctest --preset asan --test-dir "$KVTUNE_ROOT/build/asan" -j "$(nproc)"
fi

say "building (build/dev)"
configure_and_build dev "$flavour" -DKVTUNE_ORACLES_PYTHON="$oracle_python" ${options[@]+"${options[@]}"}
[ "$install" = no ] || "$KVTUNE_ROOT/scripts/check_install.sh" --build "$KVTUNE_ROOT/build/dev" prefix deb wheel
cd "$KVTUNE_ROOT"
ctest --preset dev -j "$(nproc)" "$@"
