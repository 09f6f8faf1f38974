#!/usr/bin/env bash
# ANU-Net against its relatives: the same patches, split, width and number of steps, three seeds each.
#
#   workflows/compare-architectures.sh DATASET OUTPUT [--set part.key=value ...]
#
# DATASET is from segbatch patches. OUTPUT gets a bundle per network and seed, and table.txt with what
# each scored on the test part. SEGBATCH names the command, where it is not on the path.
set -euo pipefail

dataset=$1 output=$2 && shift 2
command=${SEGBATCH:-segbatch}
mkdir -p -- "$output"

for seed in 0 1 2; do
  for arch in anunet unetpp attention_unet unet; do
    bundle=$output/$arch-$seed
    if [ ! -e "$bundle/card.json" ]; then
      $command train "$dataset" -o "$bundle" --arch "$arch" --set "fit.seed=$seed" "$@"
    fi
  done
done

${PYTHON:-python3} - "$output" <<'PY' | tee "$output/table.txt"
import json, pathlib, statistics, sys

print("network          test accuracy (3 seeds)   mean Dice (3 seeds)   minutes")
for arch in ("anunet", "unetpp", "attention_unet", "unet"):
    cards = [json.loads(p.read_text()) for p in sorted(pathlib.Path(sys.argv[1]).glob(f"{arch}-?/card.json"))]
    overall = [card["scores"]["test"]["overall"] for card in cards]
    minutes = statistics.mean(card["scores"]["training"]["minutes"] for card in cards)
    cells = []
    for name in ("accuracy", "mean_dice"):
        values = [one[name]["mean"] for one in overall]
        cells.append(f"{statistics.mean(values):.4f} +- {statistics.pstdev(values):.4f}")
    print(f"{arch:16} {cells[0]:25} {cells[1]:21} {minutes:.1f}")
PY
