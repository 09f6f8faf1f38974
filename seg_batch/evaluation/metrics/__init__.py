"""Scores: of voxels, of surfaces, of sizes, of probabilities; block by block, any size.

``CaseScorer`` takes one case block by block and gives its ``CaseScores``; ``summarise`` makes the
table of many cases for a card or a report, with intervals. Definitions are where they are computed:
`confusion` (Dice and its family), `surface` (distances, bands), `size` (mL, ha), `intervals` (the
bootstrap), `calibration` (ECE).
"""
