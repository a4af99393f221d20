# Versions, places and small functions that the scripts of this folder share. They source this file.

set -euo pipefail

KVTUNE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
KVTUNE_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/kvtune"

TORCH_VERSION=2.11.0
# What libtorch_cpu.so of that PyPI package is linked against; everything else of it is CUDA only.
CUDA_RUNTIME_VERSION=13.0.96
CUDA_CUPTI_VERSION=13.0.85

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Prints the comment that the calling script opens with, and ends the script.
show_help() {
  sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0"
  exit 0
}

# Prints cuda where there is an NVIDIA GPU, cpu otherwise.
detect_flavour() {
  if [ -e /dev/nvidia0 ] || (command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1); then
    echo cuda
  else
    echo cpu
  fi
}

# torch_root FLAVOUR: prints the folder with libtorch's include/ and lib/, the user's own or ours in the cache.
torch_root() {
  if [ -n "${KVTUNE_TORCH_ROOT:-}" ]; then
    echo "$KVTUNE_TORCH_ROOT"
  elif [ -n "${Torch_DIR:-}" ]; then
    (cd "$Torch_DIR/../../.." && pwd)
  else
    echo "$KVTUNE_CACHE/libtorch-$TORCH_VERSION-$1/torch"
  fi
}

# Prints the folder of the test oracles' virtual environment, whose name depends on their pinned versions.
oracles_directory() {
  local key
  key="$(sha256sum "$KVTUNE_ROOT/scripts/oracles/requirements.txt" | cut -c1-12)"
  echo "$KVTUNE_CACHE/oracles-$key"
}

# configure_and_build PRESET FLAVOUR [CMAKE_OPTION...]: configures and builds in build/PRESET.
configure_and_build() {
  local preset="$1" flavour="$2"
  shift 2
  cmake --preset "$preset" -S "$KVTUNE_ROOT" -DKVTUNE_TORCH_ROOT="$(torch_root "$flavour")" "$@" >&2
  cmake --build "$KVTUNE_ROOT/build/$preset" >&2
}
