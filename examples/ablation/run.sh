#!/usr/bin/env bash
# Six heads on the tree crowns of examples/trees, from images to a table, with plain fdet commands.
# Usage: examples/ablation/run.sh [OPTIONS of fdet ablate]; it goes on where it was interrupted.
# SIZE sets the side of the canvases in pixels.
#
# The validation photograph is then no longer one that nothing was chosen on: this shows how heads are
# compared, not how good the best one is.
set -euo pipefail
cd "$(dirname "$0")"
trees=../trees/work
size=${SIZE:-640}

# The caches of examples/trees/long.sh; made anew only where they are not there.
if ! [ -d "$trees/train" ] || ! [ -d "$trees/test" ]; then
    python ../trees/prepare.py "$trees"
fi
views="plain,hflip,scale=0.6..1.5,scale=0.6..1.5+hflip,scale=0.6..1.5+vflip"
tiles="--tiles 320 --overlap 0.375"
fdet extract "$trees/train" --out "$trees/train.fdet" --size "$size" $tiles --views "$views"
fdet extract "$trees/test" --out "$trees/test.fdet" --size "$size" $tiles --calibration "$trees/train.fdet"

fdet ablate plan.toml "$@"
