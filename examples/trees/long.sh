#!/usr/bin/env bash
# What run.sh does, step by step, and with fewer of them: features, training, evaluation, pictures.
# Usage: examples/trees/long.sh [SEED]; to begin again from nothing, delete examples/trees/work.
# For a quick trial, SIZE sets the side of the canvases in pixels, and EPOCHS how long it trains.
set -euo pipefail
cd "$(dirname "$0")"
seed=${1:-0}
work=work
size=${SIZE:-640}
started=$SECONDS
rm -rf "$work/run-$seed" "$work/found-$seed"

python prepare.py "$work"

# One pass of the frozen backbone over each view of each tile. Crowns are small: tiles of 320 px are doubled
# in size.
views="plain,hflip,scale=0.6..1.5,scale=0.6..1.5+hflip,scale=0.6..1.5+vflip"
tiles="--tiles 320 --overlap 0.375"
fdet extract "$work/train" --out "$work/train.fdet" --size "$size" $tiles --views "$views"
fdet extract "$work/test" --out "$work/test.fdet" --size "$size" $tiles --calibration "$work/train.fdet"

# Neck and head, from the cache alone.
fdet train-heads "$work/train.fdet" --out "$work/run-$seed" --config train.toml --set "train.seed=$seed" \
    ${EPOCHS:+--set "train.epochs=$EPOCHS"}

# Average precision on the photograph that nothing was chosen on.
fdet evaluate "$work/run-$seed" "$work/test.fdet"

# Pictures: ground truth beside what was found.
fdet predict "$work/run-$seed" "$work/test" --out "$work/found-$seed" --annotations "$work/test" \
    --threshold 0.35

echo "$((SECONDS - started)) s; pictures in examples/trees/$work/found-$seed/pictures," \
    "losses in examples/trees/$work/run-$seed/curve.png"
