#!/usr/bin/env bash
# Builds and tries everything that a release consists of, and leaves it in build/release-VERSION.
#
#   scripts/release.sh [--cpu | --cuda] [--rehearse]
#
#   --rehearse  also where the tree has changes or CHANGELOG.md has no section of the version yet
#
# The version is that of CMakeLists.txt. Tests are not run: CI has run them on the commit. Needs root, as
# scripts/check_install.sh does, and Debian 12. The packages: Debian 12, Debian 13 and Ubuntu 24.04 (both for a CPU), an
# archive, a wheel.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flavour="$(detect_flavour)"
rehearse=no
for argument in "$@"; do
  case "$argument" in
    --cpu) flavour=cpu ;;
    --cuda) flavour=cuda ;;
    --rehearse) rehearse=yes ;;
    -h | --help) show_help ;;
    *) die "release.sh: found $argument, expected --cpu, --cuda or --rehearse" ;;
  esac
done

cd "$KVTUNE_ROOT"
version="$(sed -n 's/^project(kvtune VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)"
problems=()
[ -z "$(git status --porcelain)" ] || problems+=("the tree has changes that are not committed")
grep -q "^## \[$version\] - [0-9-]*$" CHANGELOG.md || problems+=("CHANGELOG.md has no section \"## [$version] - DATE\"")
[ -z "$(git tag --list "v$version")" ] || problems+=("the tag v$version is there already")
for problem in ${problems[@]+"${problems[@]}"}; do
  [ "$rehearse" = yes ] || die "release.sh: $problem"
  say "rehearsal: $problem"
done

scripts/setup.sh "--$flavour" --program
configure_and_build release "$flavour" -DKVTUNE_INSTALL_LIBTORCH=ON
packages="$KVTUNE_ROOT/build/release-$version"
rm -rf "$packages"
scripts/check_install.sh --build build/release --keep "$packages" --lintian prefix deb archive wheel debian13 ubuntu
cd "$packages"
sha256sum kvtune* > SHA256SUMS
cat SHA256SUMS
[ "$rehearse" = yes ] || say "now: git tag -a v$version -m \"kvtune $version\""
