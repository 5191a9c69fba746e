# shellcheck shell=bash
# What the scripts that train and evaluate many runs share. Sourced, not run; needs $nada.
#
# STEPS=N       other numbers of steps than the presets', to try a script out
# SAMPLES=N     pairs of images of an evaluation (default: 256)
# CLIP=NAME     the judge (default: clip-first-b, which ships for this and guides no preset)
# THREADS=N     CPU threads (default: libtorch chooses)

threads=(--threads "${THREADS:-0}")
steps=()
if [ -n "${STEPS:-}" ]; then steps=(--iterations "$STEPS"); fi
judge=(--clip "${CLIP:-clip-first-b}")

# The value of a key at the left margin of a preset, without quotes and remarks.
value() {
    printf '%s\n' "$1" | sed -n "s/^$2: *//p" | sed "s/ *#.*//; s/^[\"']//; s/[\"'] *\$//" | head -n 1
}

# Every preset that has a target and stands on `default`, the shipped models'; a line each.
shipped_presets() {
    local list name preset
    list=$("$nada" presets --quiet)
    while read -r name _; do
        preset=$("$nada" presets "$name")
        if [ "$(value "$preset" base)" = default ] && [ -n "$(value "$preset" target)" ]; then
            printf '%s\n' "$name"
        fi
    done < <(printf '%s\n' "$list" | tail -n +2)
}

# name_presets NAMES…: sets $names to these, or to all of shipped_presets.
name_presets() {
    local name list
    names=("$@")
    if [ $# -gt 0 ]; then return; fi
    list=$(shipped_presets)
    while read -r name; do
        if [ -n "$name" ]; then names+=("$name"); fi
    done <<<"$list"
    if [ ${#names[@]} -eq 0 ]; then
        echo "${0##*/}: no preset has a target and stands on \`default\`; name some" >&2
        exit 1
    fi
}

# finish_run RUN ARGUMENTS…: adapts, continues what was interrupted, leaves alone what is finished.
finish_run() {
    local run=$1
    shift
    if [ -f "$run/generator.safetensors" ]; then return; fi
    if [ -f "$run/config.yaml" ]; then
        "$nada" adapt --resume "$run" "${threads[@]}" >&2
    else
        "$nada" adapt "$@" --out "$run" "${steps[@]}" "${threads[@]}" >&2
    fi
}

# evaluate_run RUN ARGUMENTS…: prints nothing but what `nada evaluate` is asked for.
evaluate_run() {
    local run=$1
    shift
    "$nada" evaluate "$run" --samples "${SAMPLES:-256}" "${judge[@]}" "${threads[@]}" "$@"
}

# evaluate_once RUN: unless it was evaluated since it finished (remove RUN/evaluation to have it judged otherwise).
evaluate_once() {
    local json=$1/evaluation/evaluation.json
    if [ ! -f "$json" ] || [ "$1/generator.safetensors" -nt "$json" ]; then evaluate_run "$1" >&2; fi
}
