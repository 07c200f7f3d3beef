#!/usr/bin/env bash
# The paper's claim at a small scale: {Faster, Cascade R-CNN} on {FPN, NAS-FPN}, with the frozen backbone's
# cached maps and with the backbone trained too, and stage 2 on a long tail; plain fdet commands.
# Usage: examples/paper-claim/run.sh DATA [OPTIONS of fdet compare]
# DATA has train.json, val.json and images/. It goes on where it was interrupted, and every run is kept.
#
# A whole seed comes before the next one, so that what is there at any time can be compared. SHORT and
# LONG set the images' size, SEEDS the seeds, PRESETS the detectors of both parts; for a
# quick trial, EPOCHS sets how long each training takes.
set -euo pipefail
data=$(realpath "$1")
shift
cd "$(dirname "$0")"
work=work/$(basename "$data")
presets=${PRESETS:-faster-fpn-s faster-nas-fpn-s cascade-fpn-s cascade-nas-fpn-s}
resumed() { [ -f "$1/run.json" ] && echo --resume || true; }
read -ra seeds <<<"${SEEDS:-0 1 2}"

for part in train val; do
    fdet extract "$data/$part.json" --images "$data/images" --out "$work/$part.fdet" \
        --short "${SHORT:-240}" --long "${LONG:-320}"
done

upto=""
for seed in "${seeds[@]}"; do
    upto=${upto:+$upto,}$seed
    for preset in $presets; do
        fdet compare "$preset" --cache "$work/train.fdet" --val "$work/val.fdet" --images "$data/images" \
            --out "$work/runs/$preset" --sources cached,finetune --seeds "$upto" \
            --set train.eval_every=4 ${EPOCHS:+--set "train.epochs=$EPOCHS"} "$@"
    done
    python table.py "$work"
done

# Stage 2: the last classifier layer again, with a class-balanced loss, where classes have a long tail.
python long_tail.py "$data/train.json" "$work/tail.json" --most 10
for seed in "${seeds[@]}"; do
    for preset in ${PRESETS:-faster-fpn-s cascade-nas-fpn-s}; do
        first=$work/tail/$preset-$seed
        second=$work/stage-2/$preset-$seed
        fdet train-heads "$work/train.fdet" --annotations "$work/tail.json" --val "$work/val.fdet" \
            --out "$first" --config "$preset" --set "train.seed=$seed" --set "train.epochs=${EPOCHS:-24}" \
            --set train.eval_every=8 $(resumed "$first")
        fdet retrain-classifier "$first" "$work/train.fdet" --annotations "$work/tail.json" \
            --val "$work/val.fdet" --out "$second" ${EPOCHS:+--epochs "$EPOCHS"} $(resumed "$second")
    done
done

python table.py "$work"
fdet report "$work"/runs/*/*-* "$work"/tail/* "$work"/stage-2/* --out "$work/report.html"
