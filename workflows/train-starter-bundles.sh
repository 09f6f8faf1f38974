#!/usr/bin/env bash
# Trains the starter bundles and, where its data lie beside theirs, the one of membranes: each within
# 30 minutes on two cores.
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

# starter NAME DATA...: the recipe and the bundle have the name; a finished one stays.
starter() {
  local name=$1 && shift
  if [ ! -e "$output/$name/card.json" ]; then
    "$command" train "$@" -o "$output/$name" --recipe "$recipes/$name.yaml"
  fi
}

starter hippocampus-mri "$data/msd_hippocampus"
starter landsat8-landcover "$zion/landsat8_b2345.tif=$zion/label_nlcd8_on_landsat_grid.tif"

# Neighbouring slices are alike: 10 and 13 are left out, as gaps between the parts of the recipe.
if [ -d "$isbi" ]; then
  pairs=()
  for slice in 00 01 02 03 04 05 06 07 08 09 11 12 14 15 16 17 18 19; do
    pairs+=("$isbi/images/$slice.png=$isbi/labels/$slice.png")
  done
  starter isbi-membranes "${pairs[@]}"
fi
