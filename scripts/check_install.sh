#!/usr/bin/env bash
# Installs a build in every way and tries each installation in a clean place, with the clone out of sight.
#
#   scripts/check_install.sh [--build DIR] [--keep DIR] [--python PYTHON] [--offline] [--lintian] [prefix] [deb] [archive] [wheel] [debian13] [ubuntu] [container]
#
#   --build DIR  the folder of a build that is complete (default: build/release); the last three words make their own
#   --keep DIR   leaves the packages in DIR
#   --python PYTHON  wheel: the Python of an environment that has the package torch, which the wheel is tried with in
#                place of libtorch of the cache
#   --offline    installs no Debian packages, and fails where one is missing. Man page and completions are left out where
#                man or zsh is
#   --lintian    deb, debian13, ubuntu: fails where lintian finds errors in the package
#   prefix       cmake --install
#   deb          the Debian package, in a new system of this distribution that has nothing else, by the shell steps of
#                the workflow for GitHub in docs/ci.md
#   archive      the tar archive
#   wheel        the Python package, in a fresh virtual environment beside libtorch of the cache, by the steps for GitLab
#   debian13     the Debian package of Debian 13: compiled in a system of that distribution, in minutes, and then tried in
#                another new one, as the package of this distribution is
#   ubuntu       the same of Ubuntu 24.04
#   container    packaging/Containerfile for a CPU, on a base image made of this distribution's packages; it compiles
#                everything once more, in minutes
#
# Without names it checks all but the last three. It needs root and installs the Debian packages that it needs.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

build="$KVTUNE_ROOT/build/release"
keep=""
python=""
lint=no
offline=no
ways=()
while [ $# -gt 0 ]; do
  case "$1" in
    --build) build="$(realpath "$2")"; shift ;;
    --keep) mkdir -p "$2"; keep="$(realpath "$2")"; shift ;;
    --lintian) lint=yes ;;
    --offline) offline=yes ;;
    --python) python="$(command -v "$2")" || die "check_install.sh: found no $2, expected a Python"; shift ;;
    prefix | deb | archive | wheel | debian13 | ubuntu | container) ways+=("$1") ;;
    -h | --help) show_help ;;
    *) die "check_install.sh: found $1, expected --build, --keep, --python, --offline, --lintian, prefix, deb, archive, wheel, debian13, ubuntu or container" ;;
  esac
  shift
done
[ ${#ways[@]} -gt 0 ] || ways=(prefix deb archive wheel)
[ "$(id -u)" = 0 ] || die "check_install.sh: found the user $(id -un), expected root, who may hide folders and make new systems"
if ! unshare --mount true 2>/dev/null; then
  say "skipped: this system does not let root make a mount namespace, in which the clone would be hidden"
  exit 0
fi
if [[ " ${ways[*]} " =~ \ (prefix|deb|archive|wheel)\  ]]; then
  [ -x "$build/apps/kvtune/kvtune" ] || die "check_install.sh: found no program in $build, expected a complete build"
  torch="$(sed -n 's/^KVTUNE_TORCH_ROOT:PATH=//p' "$build/CMakeCache.txt")"
fi

packages=(binutils zsh man-db groff-base dpkg-dev file mmdebstrap python3-venv)
[ "$lint" = no ] || packages+=(lintian)
[[ " ${ways[*]} " != *" container "* ]] || packages+=(buildah)
needed=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || needed+=("$package")
done
if [ ${#needed[@]} -gt 0 ] && [ "$offline" = no ]; then
  say "installing ${needed[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}" >/dev/null
fi

codename="$(. /etc/os-release && echo "$VERSION_CODENAME")"
work="$(mktemp -d "${TMPDIR:-/var/tmp}/kvtune-install.XXXXXX")"
trap 'rm -rf --one-file-system "$work"' EXIT
cp "$KVTUNE_ROOT/scripts/try_installation.sh" "$work/try.sh"
[ -n "$keep" ] || keep="$work"

# hidden FOLDER... -- COMMAND...: runs the command where these folders are empty.
hidden() {
  local folders=()
  while [ "$1" != -- ]; do folders+=("$1"); shift; done
  shift
  unshare --mount bash -c '
    while [ "$1" != -- ]; do [ ! -d "$1" ] || mount -t tmpfs -o size=1M none "$1"; shift; done
    shift
    cd /
    exec "$@"
  ' bash "${folders[@]}" -- "$@"
}

# refuse_source_paths PROGRAM FOLDER...: the program must not tell where it was built. Where libtorch is used in its own
# folder, the program has to name that one.
refuse_source_paths() {
  local program="$1" patterns=() folder
  shift
  for folder in "$@"; do patterns+=(-e "$folder"); done
  strings -a "$program" > "$work/strings"
  ! grep -F "${patterns[@]}" "$work/strings" >&2 ||
    die "check_install.sh: found the lines above in $program, expected no path of the build"
}

# try_pages SHARE: tries man page and completions there.
try_pages() {
  if command -v man >/dev/null && command -v zsh >/dev/null; then
    "$work/try.sh" pages "$1"
  else
    say "skipped: man page and completions, because man or zsh is missing"
  fi
}

# ci_repository FOLDER SECTION: makes a user's repository with plans to judge, and steps.sh with the shell steps of that
# section of docs/ci.md. Its bin/ stands for what a CI system brings.
ci_repository() {
  local folder="$1" section="$2"
  mkdir -p "$folder/configs/baselines" "$folder/bin"
  cp -r "$KVTUNE_ROOT/calib_data" "$folder"
  for name in kvtuner.json vllm.json; do
    cp "$KVTUNE_ROOT/configs/$name" "$folder/configs"
    cp "$KVTUNE_ROOT/configs/baselines/$name" "$folder/configs/baselines"
  done
  printf '#!/bin/sh\n[ "$1" != release ] || cp /tmp/kvtune_*.deb .\n' > "$folder/bin/gh"
  printf '#!/bin/sh\nexec "$@"\n' > "$folder/bin/sudo"
  chmod +x "$folder/bin/gh" "$folder/bin/sudo"
  {
    printf 'set -e\ncd "$(dirname "$0")"\nPATH="$PWD/bin:$PATH"\nexport KVTUNE_PACKAGES=owner/packages\n'
    sed -n "/^## $section/,/^## /p" "$KVTUNE_ROOT/docs/ci.md" |
      sed -n 's/\${{[^}]*}}/1/g; s/^ *\(- \)\?run: //p; s/^    - \([a-z]\)/\1/p'
    printf '[ -s gate.md ] && [ -s junit.xml ]\n'
  } > "$folder/steps.sh"
  [ "$(grep -c kvtune "$folder/steps.sh")" -ge 2 ] || die "check_install.sh: found no steps in the section $section of docs/ci.md"
}

check_prefix() {
  local prefix="$work/a prefix"
  cmake --install "$build" --prefix "$prefix" --strip | tail -n 1
  refuse_source_paths "$prefix/bin/kvtune" "$KVTUNE_ROOT" "$build"
  hidden "$KVTUNE_ROOT" "$build" "$torch" -- "$work/try.sh" program "$prefix/bin/kvtune"
  try_pages "$prefix/share"
  rm -rf "$prefix"
}

# try_deb PACKAGE OPTION... SUITE: installs it in a new system, made by mmdebstrap with these options, and tries it there.
try_deb() {
  local package="$1" root="$work/system"
  shift
  [ "$keep" = "$work" ] || cp "$package" "$keep"
  [ "$lint" = no ] || lintian --fail-on error "$package" >&2
  ci_repository "$work/repository" "GitHub Actions"
  # Lists of packages stay until after the hooks, so that apt finds what the package depends on.
  # What it mounts goes with its namespace, also when it is stopped halfway.
  unshare --mount mmdebstrap --quiet --mode=root --variant=apt \
    --customize-hook="copy-in '$package' '$work/try.sh' '$work/repository' /tmp" \
    --customize-hook='chroot "$1" bash /tmp/repository/steps.sh' \
    --customize-hook='chroot "$1" bash /tmp/try.sh program kvtune' \
    "$@" "$root" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "check_install.sh: the steps above failed"; }
  "$work/try.sh" pages "$root/usr/share"
  rm -rf "$root" "$work/repository"
}

check_deb() {
  (cd "$build" && cpack -G DEB -B "$work/deb" >/dev/null)
  try_deb "$(find "$work/deb" -maxdepth 1 -name '*.deb')" "$codename"
  rm -rf "$work/deb"
}

# compile_deb OPTION... SUITE: the clone's files are copied into a new system, made by mmdebstrap with these options, set up
# and compiled there by the project's scripts, and packed, which takes dpkg-dev and file. libtorch and ccache's results are
# those of this system's cache. Then the package is tried in another new system.
compile_deb() {
  local root="$work/compiling"
  # The cache is out of the new system again whatever happens, because what is in it may be removed as a whole.
  cat >"$work/compile.sh" <<HOOK
#!/bin/bash
trap 'umount "\$1/kvtune/cache"' EXIT
mount --bind '${XDG_CACHE_HOME:-$HOME/.cache}' "\$1/kvtune/cache"
chroot "\$1" env -i PATH="\$PATH" HOME=/root LC_ALL=C.UTF-8 XDG_CACHE_HOME=/kvtune/cache bash -ec '
  cd /kvtune/clone
  scripts/setup.sh --cpu --program
  source scripts/common.sh
  configure_and_build release cpu -DKVTUNE_INSTALL_LIBTORCH=ON
  cd build/release && cpack -G DEB -B /kvtune/deb'
HOOK
  chmod +x "$work/compile.sh"
  unshare --mount mmdebstrap --quiet --mode=root --variant=apt --include=dpkg-dev,file \
    --customize-hook='mkdir -p "$1/kvtune/clone" "$1/kvtune/cache"' \
    --customize-hook="git -C '$KVTUNE_ROOT' ls-files -z --cached --others --exclude-standard | tar -C '$KVTUNE_ROOT' --null -T - -c | tar -C \"\$1/kvtune/clone\" -x" \
    --customize-hook="$work/compile.sh" \
    "$@" "$root" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "check_install.sh: the steps above failed"; }
  refuse_source_paths "$root/kvtune/clone/build/release/apps/kvtune/kvtune" /kvtune/clone
  mv "$root/kvtune/deb" "$work"
  rm -rf --one-file-system "$root"
  try_deb "$(find "$work/deb" -maxdepth 1 -name '*.deb')" "$@"
  rm -rf "$work/deb"
}

check_debian13() {
  compile_deb trixie
}

# Ubuntu's key is not a package of Debian 12. The archive's own package has it, which is believed because of this hash.
UBUNTU_KEY_SHA256=5ebbeeb474034b1fa7e50abbe6f136e177fc826219e01f314b3623f7b3097e96
UBUNTU_KEY=etc/apt/trusted.gpg.d/ubuntu-keyring-2018-archive.gpg

check_ubuntu() {
  unshare --mount mmdebstrap --quiet --mode=root --variant=extract --include=ubuntu-keyring \
    --aptopt='Acquire::AllowInsecureRepositories "true"' --aptopt='APT::Get::AllowUnauthenticated "true"' \
    noble "$work/keys" >"$work/log" 2>&1 || { cat "$work/log" >&2; die "check_install.sh: found no archive of Ubuntu, expected one"; }
  echo "$UBUNTU_KEY_SHA256  $work/keys/$UBUNTU_KEY" | sha256sum --check --quiet
  compile_deb --components=main,universe --keyring="$work/keys/$UBUNTU_KEY" noble
  rm -rf "$work/keys"
}

check_archive() {
  local archive
  (cd "$build" && cpack -G TGZ -B "$work/archive" >/dev/null)
  archive="$(find "$work/archive" -maxdepth 1 -name '*.tar.gz')"
  [ "$keep" = "$work" ] || cp "$archive" "$keep"
  mkdir "$work/unpacked"
  tar -xzf "$archive" --strip-components=1 -C "$work/unpacked"
  hidden "$KVTUNE_ROOT" "$build" "$torch" -- "$work/try.sh" program "$work/unpacked/bin/kvtune"
  refuse_source_paths "$work/unpacked/bin/kvtune" "$KVTUNE_ROOT" "$build"
  try_pages "$work/unpacked/share"
  rm -rf "$work/archive" "$work/unpacked"
}

check_wheel() {
  local venv="$work/venv" site libraries="$torch"
  if [ -n "$python" ]; then
    libraries="$("$python" -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])')"
  fi
  # Some Pythons can make no environment with pip; pip of another environment then works on it.
  python3 -m venv "$venv" 2>/dev/null || {
    rm -rf "$venv"
    python3 -m venv --without-pip "$venv"
    printf '#!/bin/sh\nexec "%s" -m pip --python "%s/bin/python" "$@"\n' "$(command -v "${python:-python3}")" "$venv" > "$venv/bin/pip"
    chmod +x "$venv/bin/pip"
  }
  KVTUNE_BUILD="$build" "$venv/bin/pip" --disable-pip-version-check --no-cache-dir wheel --quiet --no-index --no-deps --wheel-dir "$work/wheel" "$KVTUNE_ROOT"
  # torch is 1.3 GB and is there already, so the environment is told where instead of installing it again.
  site="$(echo "$venv"/lib/python3*/site-packages)"
  dirname "$libraries" > "$site/torch.pth"
  ci_repository "$work/repository" "GitLab CI"
  # The baselines of the repository were measured on a CPU.
  hidden "$KVTUNE_ROOT" "$build" -- env PATH="$venv/bin:$PATH" KVTUNE_WHEELS="$work/wheel" PIP_NO_INDEX=1 PIP_NO_CACHE_DIR=1 CUDA_VISIBLE_DEVICES= \
    bash "$work/repository/steps.sh"
  hidden "$KVTUNE_ROOT" "$build" -- "$work/try.sh" program "$venv/bin/kvtune"
  try_pages "$venv/share"
  [ "$keep" = "$work" ] || cp "$work"/wheel/*.whl "$keep"
  rm -rf "$venv" "$work/wheel" "$work/repository"
}

# libtorch and ccache's results are those of this system's cache.
check_container() {
  local images=(buildah --root "$work/images" --runroot "$work/images-run" --storage-driver vfs) base container
  unshare --mount mmdebstrap --quiet --mode=root --variant=apt --format=tar "$codename" "$work/base.tar"
  base="$("${images[@]}" from scratch)"
  "${images[@]}" add -q "$base" "$work/base.tar" / >/dev/null
  "${images[@]}" commit -q "$base" localhost/kvtune-base >/dev/null
  "${images[@]}" build --isolation chroot -v "${XDG_CACHE_HOME:-$HOME/.cache}:/root/.cache" --build-arg BASE=localhost/kvtune-base -f "$KVTUNE_ROOT/packaging/Containerfile" \
    -t localhost/kvtune "$KVTUNE_ROOT" >&2
  container="$("${images[@]}" from localhost/kvtune)"
  "${images[@]}" run --isolation chroot -v "$work/try.sh:/tmp/try.sh:ro" "$container" -- bash /tmp/try.sh program kvtune
  say "the image: $("${images[@]}" images --format '{{.Size}}' localhost/kvtune), user $("${images[@]}" run --isolation chroot "$container" -- id -u)"
  "${images[@]}" rm --all >/dev/null
  "${images[@]}" rmi --all --force >/dev/null
}

for way in "${ways[@]}"; do
  began=$SECONDS
  "check_$way"
  say "installed by $way and tried: $((SECONDS - began)) s"
done
