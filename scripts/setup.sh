#!/usr/bin/env bash
# Installs what kvtune needs to build: Debian packages and the pinned libtorch. Safe to run again.
#
#   scripts/setup.sh [--cpu | --cuda] [--program | --oracles] [--fuzz]
#
#   --cpu      installs the slim libtorch (1.3 GB), which needs neither CUDA toolkit nor driver
#   --cuda     installs the whole libtorch (4.6 GB), and nvcc (0.3 GB) where no CUDA toolkit of libtorch's release is
#              installed, or where KVTUNE_NVCC=pypi asks for it. The default is --cuda where there is an NVIDIA GPU
#   --program  leaves out what only tests need
#   --oracles  also installs the Python packages that the tests compare with, a browser for the HTML
#              report and Open MPI
#   --fuzz     also installs the compiler that fuzzers and thread sanitizer need, where it can be had
#
# libtorch goes to ${XDG_CACHE_HOME:-~/.cache}/kvtune, in a folder for each version, and is shared by all
# clones. A libtorch of your own is used as it is when KVTUNE_TORCH_ROOT or Torch_DIR names it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# What pip needs is installed first, because libtorch is fetched while the other packages are installed.
PYTHON_PACKAGES=(ca-certificates python3 python3-venv python3-pip)
DEBIAN_PACKAGES=(
  g++ cmake ninja-build ccache pkg-config git
  libpagmo-dev libboost-serialization-dev libeigen3-dev libtbb-dev
  libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
  libonig-dev libutf8proc-dev libxxhash-dev libyaml-cpp-dev zlib1g-dev libzstd-dev
  python3-jinja2  # renders chats, see scripts/render_chat.py
)
TEST_PACKAGES=(libgtest-dev libgmock-dev libbenchmark-dev)
# A test runs searches under mpirun.
MPI_PACKAGES=(openmpi-bin)
# A test opens the HTML report with it.
BROWSER_PACKAGES=(chromium chromium-driver fonts-dejavu-core)
# The test check_format judges with this very version.
FORMAT_PACKAGE=clang-format-14
# The last one names the functions in what sanitizers report.
FUZZ_PACKAGES=(clang-19 libclang-rt-19-dev libomp-19-dev llvm-19)

flavour="$(detect_flavour)"
tests=yes
oracles=no
fuzz=no
while [ $# -gt 0 ]; do
  case "$1" in
    --cpu) flavour=cpu ;;
    --cuda) flavour=cuda ;;
    --program) tests=no ;;
    --oracles) oracles=yes ;;
    --fuzz) fuzz=yes ;;
    -h | --help) show_help ;;
    *) die "setup.sh: found the option $1, expected --cpu, --cuda, --program, --oracles or --fuzz" ;;
  esac
  shift
done

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# apt_get ARGUMENT...: runs apt-get as root.
apt_get() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "setup.sh: not root and no sudo; run as root: apt-get $*"
    as_root=(sudo)
  fi
  ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get "$@"
}

# Fetches the lists of what there is to install, once.
update_lists() {
  [ "$lists_are_new" = yes ] || apt_get update -qq
  lists_are_new=yes
}

# install_debian_packages PACKAGE...: installs those that are not there yet.
install_debian_packages() {
  local missing=() package
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "setup.sh: found no apt-get, expected Debian or Ubuntu; install: ${missing[*]}"
    say "installing ${missing[*]}"
    update_lists
    apt_get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
}

# install_for_test TEST PACKAGE...: nothing but that test needs them, so a set-up without them goes on.
install_for_test() {
  local test="$1" missing=() package
  shift
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    (update_lists && apt_get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null) ||
      say "went on without ${missing[*]}: the test $test will be skipped"
  fi
}

require_cmake() {
  local found
  found="$(cmake --version | sed -n '1s/[^0-9]*//p')"
  printf '3.25\n%s\n' "$found" | sort -V -C || die "setup.sh: found cmake $found, expected 3.25 or newer (Debian 12, Ubuntu 24.04)"
}

install_libtorch() {
  local place="$KVTUNE_CACHE/libtorch-$TORCH_VERSION-$flavour"
  [ ! -e "$place/.complete" ] || return 0
  local options=(--only-binary :all: --target "$place")
  [ "$flavour" = cuda ] || options+=(--no-deps)
  say "installing libtorch $TORCH_VERSION ($flavour) into $place"
  rm -rf "$place"
  make_environment "$KVTUNE_CACHE/pip"
  pip_install "$KVTUNE_CACHE/pip/bin/python" "$REQUIREMENTS/libtorch-$flavour.lock" "${options[@]}"
  touch "$place/.complete"
}

# nvcc of libtorch's CUDA release, with the headers that it compiles against.
install_nvcc() {
  if cuda_compiler >/dev/null; then
    say "nvcc: $(cuda_compiler)"
    return 0
  fi
  local place="$KVTUNE_CACHE/nvcc-$NVCC_VERSION"
  say "installing nvcc $NVCC_VERSION into $place"
  rm -rf "$place"
  make_environment "$KVTUNE_CACHE/pip"
  pip_install "$KVTUNE_CACHE/pip/bin/python" "$REQUIREMENTS/nvcc.lock" --only-binary :all: --no-deps --target "$place"
  # The linker looks for names without a version, and nvcc.profile for a toolkit's lib64.
  (cd "$place/nvidia/cu13" && ln -s lib lib64 && cd lib && ln -s libcudart.so.13 libcudart.so)
  cuda_compiler >/dev/null || die "setup.sh: found no working nvcc in $place, expected one"
}

install_oracles() {
  local place
  place="$(oracles_directory)"
  [ ! -e "$place/.complete" ] || return 0
  say "installing the test oracles into $place"
  make_environment "$place"
  pip_install "$place/bin/python" "$REQUIREMENTS/build.lock"
  pip_install "$place/bin/python" "$REQUIREMENTS/oracles.lock"
  touch "$place/.complete"
}

lists_are_new=no
install_debian_packages "${PYTHON_PACKAGES[@]}"
fetching=""
if [ -n "${KVTUNE_TORCH_ROOT:-}${Torch_DIR:-}" ]; then
  say "using the libtorch in $(torch_root "$flavour")"
else
  install_libtorch &
  fetching=$!
fi
[ "$tests" = no ] || DEBIAN_PACKAGES+=("${TEST_PACKAGES[@]}")
install_debian_packages "${DEBIAN_PACKAGES[@]}"
[ "$tests" = no ] || install_for_test check_format "$FORMAT_PACKAGE"
[ "$fuzz" = no ] || install_for_test "--fuzz, --tsan" "${FUZZ_PACKAGES[@]}"
require_cmake
[ -z "$fetching" ] || wait "$fetching"
[ "$flavour" = cpu ] || install_nvcc
if [ "$oracles" = yes ]; then
  install_oracles
  install_for_test oracle.report_in_browser "${BROWSER_PACKAGES[@]}"
  install_for_test oracle.launcher_parity_mpirun "${MPI_PACKAGES[@]}"
fi
