#!/usr/bin/env bash
# Trains the starter bundles and, where its data lie beside theirs, the one of membranes: each training
# within 30 minutes on two cores.
#
#   SEGBATCH_DATA=/folder/of/real/data workflows/train-starter-bundles.sh [OUTPUT]
#
# OUTPUT (default build/) gets hippocampus-mri/, landsat8-landcover/ and isbi-membranes/; copy the first
# two to seg_batch/data/bundles/ to ship them. A killed run goes on when started again.
# SEGBATCH names the command, where it is not on the path.
set -euo pipefail

data=${SEGBATCH_DATA:?set SEGBATCH_DATA to the folder with zion_landsat8_nlcd and msd_hippocampus}
output=${1:-build}
recipes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
command=${SEGBATCH:-segbatch}
zion=$data/zion_landsat8_nlcd
isbi=$data/isbi2012_membrane
mkdir -p -- "$output"

# trained NAME RECIPE ARGUMENTS...: a finished bundle stays.
trained() {
  local name=$1 recipe=$2 && shift 2
  if [ ! -e "$output/$name/card.json" ]; then
    "$command" train "$@" -o "$output/$name" --recipe "$recipes/$recipe.yaml"
  fi
}

# starter NAME DATA...: the recipe and the bundle have the name.
starter() { trained "$1" "$@"; }

# In two steps: first at the resolution of the data alone, then from there with others simulated.
trained hippocampus-mri-1mm hippocampus-mri "$data/msd_hippocampus" \
  --set augment.low_resolution=1 --set augment.thick_slices=1 \
  --set loss.terms='[{name: dice}, {name: cross_entropy}]' \
  --set optimiser.learning_rate=0.006 --set optimiser.ema=0.998 \
  --set fit.steps=8000 --set fit.validate_every=100
starter hippocampus-mri "$data/msd_hippocampus" --from "$output/hippocampus-mri-1mm"
starter landsat8-landcover "$zion/landsat8_b2345.tif=$zion/label_nlcd8_on_landsat_grid.tif"

# Neighbouring slices are alike: 10 and 13 are left out, as gaps between the parts of the recipe.
if [ -d "$isbi" ]; then
  pairs=()
  for slice in 00 01 02 03 04 05 06 07 08 09 11 12 14 15 16 17 18 19; do
    pairs+=("$isbi/images/$slice.png=$isbi/labels/$slice.png")
  done
  starter isbi-membranes "${pairs[@]}"
fi
