#!/usr/bin/env bash
# Goes from a fresh clone to a Pareto front: set-up, release build, `kvtune search` on the bundled model.
#
#   scripts/demo.sh [--cpu | --cuda] [OPTION of kvtune search]...
#
# At its end it says how long each part took and how much disk is used. Without --cpu or --cuda, libtorch for CUDA is
# taken where there is an NVIDIA GPU. docs/cli.md lists the options of `kvtune search`; they go to it as they are.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flavour="$(detect_flavour)"
search_options=()
for argument in "$@"; do
  case "$argument" in
    --cpu) flavour=cpu ;;
    --cuda) flavour=cuda ;;
    -h | --help) show_help ;;
    *) search_options+=("$argument") ;;
  esac
done

timed set-up "$KVTUNE_ROOT/scripts/setup.sh" "--$flavour" --program
say "building (build/release) on $(nproc) cores; the first time takes minutes"
timed build configure_and_build release "$flavour"

run="$KVTUNE_ROOT/build/demo-run"
# A search resumes a run directory that is there. The demonstration has to measure everything.
rm -rf "$run"
say "kvtune search --model calib_data/demo_model --out build/demo-run ${search_options[*]-}"
cd "$KVTUNE_ROOT"
timed search build/release/apps/kvtune/kvtune search --model calib_data/demo_model --out build/demo-run ${search_options[@]+"${search_options[@]}"}
say "time, and processor time of all cores: $TIMES"
say "disk: $(du -sch "$KVTUNE_CACHE" "$(ccache_directory)" build/release build/demo-run 2>/dev/null | sed "s:$KVTUNE_ROOT/::; s:$HOME/:~/:" | paste -sd ,  | sed 's/\t/ /g; s/,/, /g')"
say "the program is build/release/apps/kvtune/kvtune"
