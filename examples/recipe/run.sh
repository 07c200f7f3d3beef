#!/usr/bin/env bash
# What each default is worth: every setting against its alternatives, with plain fdet commands.
# Usage: examples/recipe/run.sh DATA [NAME [OPTIONS of fdet ablate]]
# DATA has train.json, val.json and images/; NAME (default: DATA's own name) is where results go, work/NAME.
# SHORT and LONG (default 240 and 320) are the size; PLANS (default: all of them) which plans are run.
# It goes on where it was interrupted; results of a plan are in work/NAME/PLAN/results.csv.
set -euo pipefail
data=$(realpath "$1")
name=${2:-$(basename "$data")}
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")"
work=work/$name
mkdir -p "$work"

for part in train val; do
    fdet extract "$data/$part.json" --images "$data/images" --out "$work/$part.fdet" \
        --short "${SHORT:-240}" --long "${LONG:-320}"
done
for plan in ${PLANS:-training length heads two-stage}; do
    fdet ablate "$plan.toml" --cache "$work/train.fdet" --val "$work/val.fdet" --out "$work/$plan" "$@"
done
