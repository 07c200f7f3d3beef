#!/usr/bin/env bash
# Does feature augmentation help where images are few? With plain fdet commands; half an hour on two cores
# for 205 images. Usage: examples/augmentation/run.sh DATA [OPTIONS of fdet ablate]
# DATA has train.json, val.json and images/. It goes on where it was interrupted. SHORT and LONG set the images'
# size.
set -euo pipefail
data=$(realpath "$1")
shift
cd "$(dirname "$0")"

for part in train val; do
    fdet extract "$data/$part.json" --images "$data/images" --out "work/$part.fdet" \
        --short "${SHORT:-240}" --long "${LONG:-320}"
done
fdet ablate plan.toml "$@"
fdet report work/runs --out work/report.html
