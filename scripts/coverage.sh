#!/usr/bin/env bash
# Measures which lines of the torch-free folders the unit tests execute, and fails where a folder is below 90 %.
#
#   scripts/coverage.sh [--threshold PERCENT] [--html]
#
#   --threshold  the share of lines that each folder has to reach (default 90)
#   --html       also writes every line with its count to build/coverage/html
#
# It builds build/coverage without optimization and without libtorch, runs the unit tests and prints a table by folder,
# then the sources below the threshold with the lines that no test executes. gcovr, which reads what
# GCC counted, is installed into the cache folder.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

threshold=90
html=no
while [ $# -gt 0 ]; do
  case "$1" in
    --threshold)
      [[ "${2:-}" =~ ^[0-9]+$ ]] || die "coverage.sh: found the threshold '${2:-}', expected a whole number of percent"
      threshold="$2"
      shift
      ;;
    --html) html=yes ;;
    -h | --help) show_help ;;
    *) die "coverage.sh: found the option $1, expected --threshold or --html" ;;
  esac
  shift
done

lock="$REQUIREMENTS/coverage.lock"
tool="$KVTUNE_CACHE/gcovr-$(sha256sum "$lock" | cut -c1-12)"
if [ ! -e "$tool/.complete" ]; then
  say "installing gcovr into $tool"
  make_environment "$tool"
  pip_install "$tool/bin/python" "$lock"
  touch "$tool/.complete"
fi

build="$KVTUNE_ROOT/build/coverage"
say "building and testing ($build)"
# fprofile-update=atomic: several threads count, and a count that was lost would be a line that seems unused.
cmake -S "$KVTUNE_ROOT" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DKVTUNE_WITH_TORCH=OFF \
  -DCMAKE_CXX_FLAGS="-O0 --coverage -fprofile-update=atomic" >&2
# Counts are added to those of an earlier run, which may be of other sources.
find "$build" -name '*.gcda' -delete
cmake --build "$build" >&2
ctest --test-dir "$build" -L unit -j "$(nproc)" --output-on-failure >&2

options=()
if [ "$html" = yes ]; then
  mkdir -p "$build/html"
  options+=(--html-details "$build/html/index.html")
fi
cd "$KVTUNE_ROOT"
"$tool/bin/gcovr" --root . --filter 'lib/' --filter 'search/' --merge-mode-functions=separate \
  --json "$build/coverage.json" ${options[@]+"${options[@]}"} "$build" >&2

python3 - "$build/coverage.json" "$threshold" <<'PYTHON'
import collections, json, pathlib, sys

files = json.loads(pathlib.Path(sys.argv[1]).read_text())["files"]
threshold = float(sys.argv[2])
folders = collections.defaultdict(list)
for file in files:
    # A line may be listed once for each instance of a template; it is executed when one of them is.
    counts = collections.Counter()
    for line in file["lines"]:
        counts[line["line_number"]] += line["count"]
    folders[str(pathlib.PurePath(file["file"]).parent)].append((file["file"], counts))


def percent(counts):
    lines = [count for one in counts for count in one.values()]
    return 100 * sum(count > 0 for count in lines) / max(len(lines), 1)


def ranges(numbers):
    """1, 2, 3, 7 as "1-3, 7"."""
    runs = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


print("| folder | lines | executed |")
print("|---|--:|--:|")
for folder in sorted(folders):
    counts = [count for _, count in folders[folder]]
    print(f"| `{folder}/` | {sum(map(len, counts))} | {percent(counts):.1f} % |")
everything = [count for folder in folders.values() for _, count in folder]
print(f"| all | {sum(map(len, everything))} | {percent(everything):.1f} % |")
for folder in sorted(folders):
    for name, counts in sorted(folders[folder]):
        if percent([counts]) < threshold:
            print(f"{name}: {percent([counts]):.1f} %, not executed: {ranges(sorted(n for n, c in counts.items() if c == 0))}")
low = [folder for folder in sorted(folders) if percent([count for _, count in folders[folder]]) < threshold]
if low or not folders:
    sys.exit(f"error: found {', '.join(low) or 'no folder'} below {threshold:.0f} % of lines")
PYTHON
