#!/usr/bin/env bash
# Cuts the patch datasets of both starter bundles and trains them: about 50 minutes on two cores.
#
#   SEGBATCH_DATA=/folder/of/real/data workflows/train-starter-bundles.sh [OUTPUT]
#
# OUTPUT (default build/) gets hippocampus-mri/ and landsat8-landcover/; copy them to
# seg_batch/data/bundles/ to ship them. SEGBATCH names the command, where it is not on the path.
set -euo pipefail

data=${SEGBATCH_DATA:?set SEGBATCH_DATA to the folder with zion_landsat8_nlcd and msd_hippocampus}
output=${1:-build}
recipes=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
command=${SEGBATCH:-segbatch}
zion=$data/zion_landsat8_nlcd
mkdir -p -- "$output"

# starter NAME PAIRS...: the recipe, the dataset and the bundle all have the name.
starter() {
  local name=$1 && shift
  "$command" patches "$@" -o "$output/$name.zarr" --recipe "$recipes/$name.yaml" --overwrite
  "$command" train "$output/$name.zarr" -o "$output/$name" --overwrite
}

starter hippocampus-mri "$data/msd_hippocampus"
starter landsat8-landcover "$zion/landsat8_b2345.tif=$zion/label_nlcd8_on_landsat_grid.tif"
