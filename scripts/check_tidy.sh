#!/usr/bin/env bash
# Runs clang-tidy 14 with the checks of .clang-tidy over sources, by the compile commands of build/dev.
#
#   scripts/check_tidy.sh [FILE or FOLDER]...
#
# Without arguments it checks every source that build/dev compiles. It takes seconds for each file, so give the
# files that you changed. A header is checked with the sources that include it. The preset must have been
# configured: cmake --preset dev. KVTUNE_BUILD=DIR names another build folder.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case "${1:-}" in -h | --help) show_help ;; esac

tidy="$(command -v clang-tidy-14)" || die "check_tidy.sh: found no clang-tidy-14, expected it; install: clang-tidy-14"
build="${KVTUNE_BUILD:-$KVTUNE_ROOT/build/dev}"
commands="$build/compile_commands.json"
[ -e "$commands" ] || die "check_tidy.sh: found no $commands, expected a configured build (cmake --preset dev)"

wanted=()
for argument in "$@"; do
  wanted+=("$(realpath "$argument")")
done
# clang cannot read GCC's precompiled header, so the commands are taken without it.
database="$build/tidy"
mapfile -t files < <(python3 - "$commands" "$database" "$KVTUNE_ROOT" ${wanted[@]+"${wanted[@]}"} <<'PYTHON'
import json, pathlib, re, sys

commands, database, root, *wanted = map(pathlib.Path, sys.argv[1:])
entries = json.loads(commands.read_text())
for entry in entries:
    entry["command"] = re.sub(r" -Winvalid-pch| -fpch-preprocess| -include \S+/cmake_pch\.hxx", "", entry["command"])
database.mkdir(exist_ok=True)
(database / "compile_commands.json").write_text(json.dumps(entries))

compiled = {pathlib.Path(entry["file"]) for entry in entries}
ours = {path for path in compiled if path.suffix == ".cc" and path.is_relative_to(root)}
print(*sorted(path for path in ours if not wanted or any(path.is_relative_to(place) for place in wanted)), sep="\n")
PYTHON
)
[ -n "${files[0]:-}" ] || die "check_tidy.sh: found no source that $build compiles in: $*"

say "clang-tidy over ${#files[@]} sources"
began=$SECONDS
status=0
# clang-tidy comes without omp.h, so GCC's is used.
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$tidy" --quiet -p "$database" \
  --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-ignored-optimization-argument \
  --extra-arg="-idirafter$(dirname "$(g++ -print-file-name=include/omp.h)")" \
  2> >(grep -v ' warnings\? generated\.$' >&2) || status=1
say "clang-tidy: $((SECONDS - began)) s"
[ "$status" = 0 ] || die "check_tidy.sh: found the errors above, expected none"
