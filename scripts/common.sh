# Versions, places and small functions that the scripts of this folder share. They source this file.

set -euo pipefail

KVTUNE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
KVTUNE_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/kvtune"

REQUIREMENTS="$KVTUNE_ROOT/scripts/requirements"
TORCH_VERSION="$(sed -n 's/^torch==//p' "$REQUIREMENTS/libtorch-cpu.txt")"
# nvcc of libtorch's CUDA release, for GPU machines without a CUDA toolkit.
NVCC_VERSION="$(sed -n 's/^nvidia-cuda-nvcc==//p' "$REQUIREMENTS/nvcc.txt")"

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
  key="$(sha256sum "$REQUIREMENTS/oracles.lock" | cut -c1-12)"
  echo "$KVTUNE_CACHE/oracles-$key"
}

# make_environment FOLDER: makes an empty virtual environment of Python there, in place of what is there.
make_environment() {
  rm -rf "$1"
  python3 -m venv "$1"
}

# pip_install PYTHON LOCK [OPTION of pip install]...: installs what the lock lists into the environment of PYTHON. A file
# whose hash is not in the lock is refused. Downloads are kept in our folder of the cache, like all else that is written.
pip_install() {
  local python="$1" lock="$2"
  shift 2
  mkdir -p "$KVTUNE_CACHE/tmp"
  TMPDIR="$KVTUNE_CACHE/tmp" PIP_CACHE_DIR="$KVTUNE_CACHE/downloads" "$python" -m pip install --quiet \
    --disable-pip-version-check --no-compile --require-hashes --no-build-isolation "$@" -r "$lock"
}

# Prints the nvcc to compile with: that of an installed CUDA toolkit of libtorch's release, else ours in the cache.
# KVTUNE_NVCC=pypi takes ours although a toolkit is installed.
cuda_compiler() {
  local candidate installed=("${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")
  [ "${KVTUNE_NVCC:-}" != pypi ] || installed=()
  for candidate in ${installed[@]+"${installed[@]}"} "$KVTUNE_CACHE/nvcc-$NVCC_VERSION/nvidia/cu13/bin/nvcc"; do
    if [ -x "$candidate" ] && "$candidate" --version 2>/dev/null | grep -q "release ${NVCC_VERSION%%.*}\."; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

# Prints the folder in which ccache keeps its results.
ccache_directory() {
  echo "${CCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ccache}"
}

# timed NAME COMMAND...: runs a command, and adds what it took to TIMES, in words.
TIMES=""
timed() {
  local name="$1" seconds=$SECONDS processor
  shift
  processor="$(processor_seconds)"
  "$@"
  TIMES+="${TIMES:+, }$name $((SECONDS - seconds)) s ($(($(processor_seconds) - processor)) s)"
}

# Prints the processor time, in seconds, of all commands that the script has run to their end.
processor_seconds() {
  awk -v ticks="$(getconf CLK_TCK)" '{print int(($16 + $17) / ticks)}' "/proc/$$/stat"
}

# Prints what CMake calls the architectures of the GPUs of this machine: "90", or "80;90" of two kinds. Code for them
# includes PTX, which newer GPUs compile. Prints nothing where there is no GPU.
cuda_architectures() {
  { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null || true; } | tr -d . | sort -nu | paste -sd ';'
}

# configure_and_build PRESET FLAVOUR [CMAKE_OPTION...]: configures and builds in build/PRESET.
configure_and_build() {
  local preset="$1" flavour="$2" environment=() compiler architectures
  shift 2
  local options=(-DKVTUNE_TORCH_ROOT="$(torch_root "$flavour")")
  if [ "$flavour" = cuda ]; then
    # Compilers and library folders that the environment of a GPU machine names are often those of another toolkit.
    # They would link a second C++ runtime into the program.
    environment=(-u CXX -u CC -u CUDAHOSTCXX -u LIBRARY_PATH)
    if compiler="$(cuda_compiler)"; then
      options+=(-DKVTUNE_CUDA=ON -DCMAKE_CUDA_COMPILER="$compiler")
      architectures="$(cuda_architectures)"
      [ -z "$architectures" ] || options+=(-DCMAKE_CUDA_ARCHITECTURES="$architectures")
    fi
  fi
  env ${environment[@]+"${environment[@]}"} cmake --preset "$preset" -S "$KVTUNE_ROOT" "${options[@]}" "$@" >&2
  env ${environment[@]+"${environment[@]}"} cmake --build "$KVTUNE_ROOT/build/$preset" >&2
}
