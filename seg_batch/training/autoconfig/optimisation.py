"""Normalisation, loss, sampling, augmentation, steps and learning rate."""

from __future__ import annotations

import math
from math import prod

from seg_batch.core.units import share_roughly
from seg_batch.datasets.augment.resolution import LONGER
from seg_batch.training.autoconfig.classes import background, shares
from seg_batch.training.autoconfig.dataset_stats import DatasetFacts
from seg_batch.training.autoconfig.patch_size import PatchSizes
from seg_batch.training.autoconfig.reasons import Reason

RARE, TINY = 0.01, 0.001
AIR = -500  # Hounsfield units; no other modality stores whole numbers this far below zero
OFTEN = 0.5  # least share of the batches that show the rarest class
MOST_BALANCED = 0.75
STEPS = {False: 4000, True: 20000}
MINUTES = {False: 20, True: 120}
CHECKS = 20
IN_PLANE = 2.0  # the largest factor of a coarser grid for slices
LEAST_SLICES, MOST_SLICES = 2.0, 8.0  # voxels; the largest thickness of simulated ones lies between


def choose_normalisation(facts: DatasetFacts) -> list[Reason]:
    low = min(case.low for case in facts.cases)
    means = sorted(abs(case.mean) for case in facts.cases)
    apart = means[-1] / means[0] if means[0] > 0 else math.inf
    key = "card.normalisation"
    if facts.kind == "raster":
        why = (
            "bands of one sensor are on one scale, so one mean and deviation of all images keep it"
        )
        reasons = [Reason(key, "card", why)]
        if apart > 3 and len(means) > 1:
            text = f"the means of the images differ by a factor of {apart:.3g}: if they come from different sensors, set it to source"
            reasons.append(Reason(key, None, text, warning=True))
        return reasons
    hounsfield = facts.modality is None and facts.whole and low < AIR
    if hounsfield or facts.modality == "CT":
        said = f"whole numbers down to {low:g} are" if hounsfield else "values of CT are"
        why = f"{said} Hounsfield units, which mean the same in every scanner; air and metal are clipped to what the foreground has"
        return [Reason(key, "ct", why)]
    spread = f"means differ by a factor of {apart:.3g} between cases" if len(means) > 1 else "MR"
    why = f"intensities are on no fixed scale ({spread}), so each image has its own"
    return [Reason(key, "source", why)]


def choose_loss(facts: DatasetFacts) -> list[Reason]:
    rare, ground = _rare(facts), background(facts)
    if facts.kind == "volume" or ground is not None:
        front = {k: share for k, share in shares(facts).items() if k != ground}
        tiny = [k for k, share in front.items() if share < TINY]
        second = "focal" if tiny else "cross_entropy"
        why = f"Dice counts a class of {share_roughly(min(front.values()))} like any other, and {second.replace('_', '-')} is steady from the start"
        why += "; focal, since almost all voxels are soon right" if tiny else ""
        return [Reason("loss.terms", [{"name": "dice"}, {"name": second}], why)]
    plain = {"name": "cross_entropy", "smoothing": 0.05}
    smooth = "5 % of smoothing, since labels of whole maps are never all right"
    if not rare:
        return [Reason("loss.terms", [plain], f"no class is rare; {smooth}")]
    why = f"{_named(facts, rare)} would be lost in a mean over voxels, Dice counts each class alike; {smooth}"
    return [Reason("loss.terms", [plain, {"name": "dice", "weight": 0.5}], why)]


def choose_sampling(facts: DatasetFacts, sizes: PatchSizes) -> list[Reason]:
    if background(facts) is not None:
        return _foreground(facts, sizes)
    rare, n = _rare(facts), len(shares(facts))
    if not rare:
        why = "no class is rarer than 1 %: patches are drawn evenly"
        return [Reason("sampling.balance", 0.0, why)]
    needed = math.ceil(20 * OFTEN * n / sizes.batch) / 20
    balance = min(MOST_BALANCED, needed)
    seen = min(1.0, balance * sizes.batch / n)
    why = f"{_named(facts, rare)} are rare: taken in turn, each of {n} classes is asked for in {share_roughly(seen)} of the batches of {sizes.batch}"
    return [Reason("sampling.balance", balance, why)]


def _foreground(facts: DatasetFacts, sizes: PatchSizes) -> list[Reason]:
    """Foreground oversampling of a third, as in nnU-Net (Isensee et al. 2021): an even draw often
    gives patches of background only."""
    extent = [facts.extent[a] for a in sizes.order[-sizes.rank :]]
    if sizes.rank == len(facts.extent) and prod(sizes.fit) >= 0.4 * prod(extent):
        why = f"a patch covers {share_roughly(min(1, prod(sizes.fit) / prod(extent)))} of the median case, so any crop shows the classes"
        return [Reason("sampling.balance", 0.0, why), Reason("sampling.foreground", 0.0, why)]
    ground = background(facts)
    front = {k: share for k, share in shares(facts).items() if k != ground}
    tiny = min(front.values()) < TINY
    share = 0.5 if tiny else 0.33
    why = f"classes fill {share_roughly(sum(front.values()))} of the voxels, a patch a small part of a case: crops without any teach little"
    balance, text = 0.0, "foreground sees to it"
    if len(front) > 1 and tiny:
        balance = share = 0.33
        rarest = min(front, key=front.__getitem__)
        text = f"class {rarest} is {share_roughly(front[rarest])} only: in turn with the others"
    return [Reason("sampling.balance", balance, text), Reason("sampling.foreground", share, why)]


def choose_augment(facts: DatasetFacts, sizes: PatchSizes) -> list[Reason]:
    if facts.kind == "raster":
        above = "seen from above, no direction is special"
        return [
            Reason("augment.flip", [0, 1], above, shown="both axes"),
            Reason("augment.quarter_turns", [0, 1], above, shown="y and x"),
            Reason("augment.gain", 0.1, "light and atmosphere differ between scenes"),
            Reason("augment.shift", 0.15, "light and atmosphere differ between scenes"),
            Reason("augment.noise", 0.05, "a little, against learning single pixels by heart"),
        ]
    value = "scanners and protocols differ in contrast and sharpness"
    return [
        Reason("augment.flip", [], "left and right are anatomy: a mirrored body is not a body"),
        Reason("augment.rotate_degrees", 15.0, "bodies never lie quite alike"),
        Reason("augment.scale", 0.1, "nor are they of one size"),
        Reason("augment.elastic", 1.0, "nor of one shape"),
        Reason("augment.warped", 0.8, "a part of the patches is left as it is"),
        Reason("augment.gain", 0.2, value),
        Reason("augment.shift", 0.2, value),
        Reason("augment.gamma", 0.2, value),
        Reason("augment.noise", 0.1, value),
        Reason("augment.blur", 0.6, value),
        *_resolution(facts, sizes),
    ]


def _resolution(facts: DatasetFacts, sizes: PatchSizes) -> list[Reason]:
    """Thick slices, where voxels of some case are long along one axis; in plane, where slices are seen alone."""
    known = [case.spacing for case in facts.cases if case.spacing]
    longest = max((max(s) / sorted(s)[-2] for s in known), default=1.0)
    if facts.spacing is None or longest < LONGER:
        return []
    seen = f"voxels are longer along one axis, up to {longest:.3g} : 1"
    if sizes.rank == 2:
        why = f"{seen}: no two protocols have the same resolution, in slices neither"
        return [Reason("augment.low_resolution", IN_PLANE, why)]
    thickest = max(a / b for s in known for a, b in zip(s, facts.spacing, strict=True) if b)
    value = round(min(max(thickest, LEAST_SLICES), MOST_SLICES), 1)
    why = f"{seen}, and protocols differ: slices of up to {value:g} voxels are simulated"
    return [Reason("augment.thick_slices", value, why)]


def choose_run(facts: DatasetFacts, sizes: PatchSizes) -> list[Reason]:
    gpu, narrow = facts.gpus > 0, sizes.filters[0] < 16
    steps, minutes = STEPS[gpu], MINUTES[gpu]
    rate = 0.01 if narrow else 0.003
    score, why = "accuracy", "no class is rare, so voxels are counted"
    if background(facts) is not None or _rare(facts):
        score, why = "dice", "rare classes count like common ones"
    noisy = sizes.batch < 4
    reasons = [
        Reason("optimiser.learning_rate", rate, f"{'a network as narrow as' if narrow else 'the peak for a network of'} {sizes.filters[0]} filters {'learns well at it' if narrow else 'at full resolution'}, as the starter bundles did"),
        Reason("optimiser.weight_decay", 0.01 if narrow else 1e-4, "as the starter bundles"),
        Reason("optimiser.ema", 0.995 if noisy else 0.99, f"the mean of the last {200 if noisy else 100} steps is kept: batches of {sizes.batch} are {'noisy' if noisy else 'calmer'}"),
        Reason("fit.steps", steps, f"or {minutes} minutes, whichever is nearer; the learning rate follows"),
        Reason("fit.minutes", minutes, f"what {'a GPU' if gpu else f'{facts.cores} cores'} need for a good first model"),
        Reason("fit.validate_every", steps // CHECKS, f"{CHECKS} checkpoints to choose from"),
        Reason("fit.score", score, why),
    ]  # fmt: skip
    precision = Reason("optimiser.precision", "mixed", "a GPU has tensor cores")
    return [*reasons, precision] if gpu else reasons


def _rare(facts: DatasetFacts) -> list[int]:
    ground = background(facts)
    return [k for k, share in shares(facts).items() if k != ground and share < RARE]


def _named(facts: DatasetFacts, classes: list[int]) -> str:
    """``class 1 of 0.08 % and 3 more``: the rarest class and the number of the others."""
    share = shares(facts)
    rarest = min(classes, key=share.__getitem__)
    more = f" and {len(classes) - 1} more" if len(classes) > 1 else ""
    return f"class {rarest} of {share_roughly(share[rarest])}{more}"
