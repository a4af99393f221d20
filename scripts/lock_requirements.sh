#!/usr/bin/env bash
# Writes scripts/requirements/NAME.lock for each NAME.txt: every package that an environment gets, its version and the
# hashes of its files. pip installs from the locks alone (pip_install in scripts/common.sh).
#
#   scripts/lock_requirements.sh [NAME...]
#
# Run it after a change of a NAME.txt. Versions that a lock has stay as they are where they still fit.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case "${1:-}" in -h | --help) show_help ;; esac

# Their packages are installed without what they depend on.
WITHOUT_DEPENDENCIES=(libtorch-cpu nvcc export-exllamav3 export-mlx-optiq axe hadolint)

cd "$KVTUNE_ROOT/scripts/requirements"
names=("$@")
if [ ${#names[@]} = 0 ]; then
  for file in *.txt; do names+=("${file%.txt}"); done
fi

tool="$KVTUNE_CACHE/lock-tool"
make_environment "$tool"
pip_install "$tool/bin/python" "$PWD/lock-tool.lock"
for name in "${names[@]}"; do
  [ -e "$name.txt" ] || die "lock_requirements.sh: found no scripts/requirements/$name.txt, expected one"
  options=(--quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate)
  case " ${WITHOUT_DEPENDENCIES[*]} " in *" $name "*) options+=(--no-deps) ;; esac
  say "locking $name"
  "$tool/bin/uv" --cache-dir "$KVTUNE_CACHE/downloads/uv" pip compile "${options[@]}" "$name.txt" --output-file "$name.lock"
done
