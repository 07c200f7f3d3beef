#!/usr/bin/env bash
# Tree crowns in aerial photographs, from images to pictures of what was found, with one fdet command.
# long.sh does the same step by step.
# Usage: examples/trees/run.sh [SEED]; it goes on where it was interrupted. To begin again from nothing, delete
# examples/trees/work. For a quick trial, SIZE sets the side of the canvases in pixels, and EPOCHS how long it
# trains.
set -euo pipefail
cd "$(dirname "$0")"
seed=${1:-0}
work=work

# Two photographs, with Pascal VOC XML as the package has it.
python prepare.py "$work"

# Crowns are small: tiles of 320 px are doubled in size. The validation photograph is evaluated at the end
# alone, so nothing is chosen on it (train.eval_every in train.toml).
fdet fit "$work/train" --val "$work/test" --out "$work/fit-$seed" --seed "$seed" --size "${SIZE:-640}" \
    --tiles 320 --overlap 0.375 \
    --views "plain,hflip,scale=0.6..1.5,scale=0.6..1.5+hflip,scale=0.6..1.5+vflip" \
    --config train.toml ${EPOCHS:+--set "train.epochs=$EPOCHS"}

# The detector as a file for other programs, and the proof that it finds the same.
fdet export "$work/fit-$seed/run" --out "$work/fit-$seed/deploy/trees.onnx" --overwrite \
    --check "$work/fit-$seed/val.fdet" --images "$work/test"
