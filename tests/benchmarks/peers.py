"""What comparisons with torch and MONAI share: a pair of sides, and how it is measured and shown."""

import math
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from figures import FIGURES
from machine import this_machine
from timing import PEERS, Ran, predict, run_command, show

PYTHON = PEERS / "python"
SIDE = Path(__file__).parent / "torch_side" / "sliding.py"
type Sides = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """One comparison. ``options``: of torch_side/sliding.py. ``our_patch``: it takes the patch and the overlap that
    our plan has chosen, else those of the card, with which the network was trained."""

    name: str
    filters: Sides
    precision: str = "auto"
    options: tuple[str, ...] = ()
    our_patch: bool = False

    @property
    def needs_bfloat16(self) -> bool:
        return "--bfloat16" in self.options


@dataclass(frozen=True)
class Task:
    """One image, and a bundle with the patch and overlap of its card for each width of network."""

    image: Path
    bundles: dict[Sides, Path]
    patch: Sides
    overlap: Sides
    channels: int
    classes: int
    last: dict[tuple[Sides, str], Ran] = field(default_factory=dict)  # of our side

    def output(self, side: str) -> Path:
        return self.image.with_name(
            f"{side}.tif" if self.image.suffix == ".tif" else f"{side}.nii.gz"
        )

    def ours(self, pair: Pair) -> Ran:
        options = ["--model", str(self.bundles[pair.filters]), "--taper", "gaussian"]
        options += ["--precision", pair.precision]
        ran = self.last[pair.filters, pair.precision] = predict(
            self.image, self.output("ours"), *options
        )
        return ran

    def theirs(self, pair: Pair, patch: Sides, overlap: Sides) -> Ran:
        numbers = {"--classes": [self.classes], "--patch": patch, "--overlap": overlap}
        numbers["--filters"] = pair.filters
        options = [text for option, given in numbers.items() for text in (option, *map(str, given))]
        files = [str(self.image), str(self.output("theirs"))]
        return run_command([str(PYTHON), str(SIDE), *files, *options, *pair.options])


def parameters(rank: int, channels: int, classes: int, filters: Sides) -> int:
    """Of our network with one head, so that both sides are seen to have the same wiring."""
    from seg_batch.nn.networks.anunet import ANUNetConfig, anunet

    model = anunet(ANUNetConfig(rank, channels, classes, filters, heads=(len(filters) - 1,)))
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def compare(pair: Pair, task: Task, rounds: int = 1) -> None:
    """Ours, theirs, ours, and so on: a machine that is busy at times slows both. Where the pair before had the
    same run of ours, it is the first."""
    if pair.needs_bfloat16 and not this_machine().bfloat16:
        return
    ours = [task.last.get((pair.filters, pair.precision)) or task.ours(pair)]
    plan = ours[0].report["plan"]
    patch, overlap = task.patch, task.overlap
    if pair.our_patch:
        patch, overlap = tuple(plan["patch"]), tuple(plan["overlap"])
    theirs = []
    for _ in range(rounds):
        theirs.append(task.theirs(pair, patch, overlap))
        ours.append(task.ours(pair))
    wanted = parameters(len(patch), task.channels, task.classes, pair.filters)
    assert theirs[0].report["parameters"] == wanted, "the networks differ"
    report(
        pair.name, ours, theirs, plan=[plan["patch"], plan["overlap"]], peer_plan=[patch, overlap]
    )


def report(name: str, ours: list[Ran], theirs: list[Ran], note: str = "", **more: object) -> None:
    """The line of one comparison. ``inside``: by their own clocks, where both tell. ``peak_bytes``: the most that
    any run of ours had; ``memory``: how much more theirs had."""
    a, b = (middle(side) for side in (ours, theirs))
    peak, peer_peak = (max(ran.rss_bytes for ran in side) for side in (ours, theirs))
    ratios = {"ratio": b.seconds / a.seconds, "cpu_ratio": b.cpu_s / a.cpu_s}
    ratios |= {"memory": peer_peak / peak, "peak_bytes": peak, "peer_peak_bytes": peer_peak}
    text = f"{a.seconds:.1f} s against {b.seconds:.1f} s: {ratios['ratio']:.2f} times as fast"
    if a.report and b.report:
        ratios["inside"] = b.report["seconds"] / a.report["seconds"]
        compiling = f", nor {s:.0f} s of torch.compile" if (s := b.report.get("compile_s")) else ""
        text += f"; by their own clocks, without start and imports{compiling}, {ratios['inside']:.2f} times"
    text += (
        f"; processor time {ratios['cpu_ratio']:.2f} times, memory {peak >> 20} against "
        f"{peer_peak >> 20} MiB, {ratios['memory']:.2f} times (targets: {wanted(name)}){note}"
    )
    show(name, text, **ratios, sides={"segbatch": a.costs, "peer": b.costs}, **more)


def middle(runs: list[Ran]) -> Ran:
    """The one of the median time, or the slower of two middle ones."""
    median = statistics.median_high(ran.seconds for ran in runs)
    return next(ran for ran in runs if ran.seconds == median)


def wanted(name: str) -> str:
    machine = this_machine()
    figures = [f for f in FIGURES if f.benchmark == name and f.target_on(machine) is not None]
    said = [f"{f.key} {f.wanted(machine)}" for f in figures]
    return ", ".join(said) or "none"


def require_peers() -> None:
    if not PYTHON.is_file():
        sys.exit("no .venv-peers: run make bench")
