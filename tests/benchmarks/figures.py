"""Every figure that the benchmarks show, with its unit and its target: the rows of the table of ``all.py``.

A target stands here and nowhere else; benchmarks ask for it (``target``).
"""

from dataclasses import dataclass, field

from machine import Machine, this_machine


@dataclass(frozen=True)
class Figure:
    """``benchmark`` and ``key`` say where it comes from: the line that ``show`` prints, and its key.

    ``higher``: whether more is better. ``without``: another target on machines that lack a feature.
    ``needs``: a feature without which it can't be measured. A figure without a target is told only.
    """

    benchmark: str
    key: str
    what: str
    target: float | None = None
    higher: bool = True
    unit: str = "x"
    scale: float = 1.0
    without: dict[str, float] = field(default_factory=dict)
    needs: str | None = None

    @property
    def name(self) -> str:
        return f"{self.benchmark}: {self.key}"

    def target_on(self, machine: Machine) -> float | None:
        lacking = [value for name, value in self.without.items() if not machine.has(name)]
        return lacking[0] if lacking else self.target

    def reached(self, value: float, machine: Machine) -> bool:
        """As it is shown: what is rounded to the target has reached it."""
        target = self.target_on(machine)
        if target is None:
            return True
        shown = float(f"{value:.3g}")
        return shown >= target if self.higher else shown <= target

    def shown(self, value: float | None) -> str:
        if value is None:
            return "-"
        text = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        return f"x{text}" if self.unit == "x" else f"{text} {self.unit}".strip()

    def wanted(self, machine: Machine) -> str:
        target = self.target_on(machine)
        return "" if target is None else f"{'>=' if self.higher else '<='} {self.shown(target)}"


def at_least(benchmark: str, key: str, what: str, target: float, **more: object) -> Figure:
    return Figure(benchmark, key, what, target, **more)  # type: ignore[arg-type]


def at_most(benchmark: str, key: str, what: str, target: float, **more: object) -> Figure:
    return Figure(benchmark, key, what, target, higher=False, **more)  # type: ignore[arg-type]


def told(benchmark: str, key: str, what: str, **more: object) -> Figure:
    return Figure(benchmark, key, what, **more)  # type: ignore[arg-type]


CPU_S = {"unit": "CPU s"}
MILLIONS = {"unit": "million/s", "scale": 1e-6}
SHARE = {"unit": "%", "scale": 100.0}
MIB = {"unit": "MiB", "scale": 1 / (1 << 20)}

# Against others, the same network on both sides.
PEERS = (
    at_least(
        "monai 1536, as they come, base 32", "ratio", "MONAI as it comes, 2-D, base 32", 10.0
    ),
    at_least(
        "monai 2048, as they come", "ratio", "MONAI as it comes, 2-D, base 16", 9.0,
        without={"bfloat16": 5.0},
    ),
    at_least("monai 2048, compiled", "inside", "the same with torch.compile, its time aside", 3.0),
    at_least("monai 2048, float32", "ratio", "MONAI by hand, 2-D, float32, channels_last", 3.0),
    at_least(
        "monai 2048, bfloat16", "ratio", "MONAI by hand, 2-D, bfloat16, channels_last", 3.0,
        needs="bfloat16",
    ),
    at_least(
        "monai 2048, our patch", "ratio", "MONAI by hand, 2-D, our precision, our patch, batch 1", 3.0
    ),
    at_least(
        "monai 2048, our patch, compiled", "inside",
        "the same with torch.compile, its time aside", 3.0,
    ),
    told("monai 2048, plain loop", "ratio", "a loop of rasterio and torch, 2-D, base 16"),
    told("monai 3-D, as they come", "ratio", "MONAI as it comes, 3-D"),
    at_least("monai 3-D, by hand", "ratio", "MONAI by hand, 3-D, our precision, our patch", 3.0),
    at_least("monai 3-D, compiled", "inside", "the same with torch.compile, its time aside", 3.0),
    at_least("nnunet, head", "ratio",
             "nnU-Net on its own network, part of a head, no mirroring, both starts in it", 3.0),
    at_least("nnunet, head, compiled", "ratio",
             "part of a head with torch.compile, both starts and compiling in it", 3.0),
    at_least("nnunet, folder", "ratio",
             "nnU-Net as it comes, mirroring, 12 small volumes, both starts in it", 3.0),
    at_least("nnunet, folder", "same_labels", "the same, voxels with the same label", 99.9, **SHARE),
    at_most("nnunet, folder", "peak_bytes", "the same, peak memory", 2048.0, **MIB),
    told("nnunet, folder", "peer_peak_bytes", "the same, peak memory of nnU-Net", **MIB),
    at_least("csmask 4096", "ratio",
             "ukis-csmask on its own network, 4096 x 4096, both starts in it", 3.0),
    at_least("csmask 4096", "memory", "the same, peak memory of ukis-csmask over ours", 10.0),
    told("csmask 4096", "same_labels", "the same, pixels with the same label", **SHARE),
    at_least("csmask 4096, float32", "ratio", "the same, ours in float32", 3.0),
    at_least("csmask 4096, float32", "memory", "the same in float32, memory", 10.0),
    told("csmask 4096, float32", "same_labels",
         "the same in float32, pixels with the same label", **SHARE),
)  # fmt: skip
# What a run costs beside its network.
RUN = (
    at_most("efficiency 2-D", "ratio", "whole run over bare forward passes, 2-D", 1.05),
    at_most("efficiency 3-D", "ratio", "whole run over bare forward passes, 3-D", 1.05),
    at_least("overhead", "pixels_per_s", "the pipeline with the probe, 8 classes", 60.0,
             without={"avx512": 35.0}, **MILLIONS),
    at_most("overhead", "ratio", "the same over a plain copy", 1.0),
    told("overhead", "over_translate", "the same over gdal_translate of the scene"),
    told("overhead", "over_fast_copy", "the same over a plain copy, DEFLATE level 1 as ours"),
    told("overhead", "over_fast_translate", "the same over gdal_translate, DEFLATE level 1 as ours"),
    at_most("memory", "ratio", "peak memory, 32768 x 32768 over 8192 x 8192", 1.05),
    at_most("memory", "promise", "promise over peak memory", 1.3),
    at_most("remote", "ratio", "seconds over a server of ranges with 50 ms and 1 % of failures, over those of the file here", 1.5),
    at_most("empty", "cpu_s", "all-empty 100 000 x 100 000", 20.0, **CPU_S),
    at_most("dicom_survey flat", "seconds", "survey of 20 000 slices of 200 series in one folder", 60.0, unit="s"),
    at_most("dicom_survey nested", "seconds", "the same in folders", 60.0, unit="s"),
    at_most("dicom_survey nested", "grown_bytes", "memory that it takes", 64 * 2.0**20, **MIB),
    at_most("startup", "inspect", "inspect of a small file", 0.5, **CPU_S),
    at_most("startup", "plan", "plan of a small file", 0.5, **CPU_S),
    at_most("startup", "inspect_scene", "inspect of the sample scene", 0.5, **CPU_S),
    at_most("startup", "plan_scene", "plan of the sample scene with its bundle", 0.5, **CPU_S),
    at_most("startup", "predict", "predict of a small volume", 1.5, **CPU_S),
    at_most("csmask, import", "seconds", "import of an ONNX model of 40 MB", 20.0, unit="s"),
    told("nnunet, import", "seconds", "import of an nnU-Net folder with one fold", unit="s"),
)  # fmt: skip
ACCURACY = (
    at_least("patches, scene", "accuracy", "accuracy of the chosen patch less that of the card's",
             -0.1, unit="points", scale=100.0),
    at_least("patches, scene", "iou", "the same, mean IoU", -0.1, unit="points", scale=100.0),
    at_least("patches, volumes", "dice", "the same, Dice of volumes", -0.1, unit="points", scale=100.0),
    at_most("patches, scene", "seams", "seam index of the chosen patch over the card's, scene", 1.0),
    at_most("patches, volumes", "seams", "the same, volumes", 1.0),
    at_least("csmask, sentinel2", "kappa", "clouds of Sentinel-2, kappa against truth", 0.809, unit=""),
    told("csmask, sentinel2", "float32_kappa", "the same, ours in float32", unit=""),
    told("csmask, sentinel2", "peer_kappa", "the same, ukis-csmask", unit=""),
    at_least("csmask, landsat7", "kappa", "clouds of Landsat 7, kappa against truth", 0.784, unit=""),
    told("csmask, landsat7", "float32_kappa", "the same, ours in float32 (Landsat 7)", unit=""),
    told("csmask, landsat7", "peer_kappa", "the same, ukis-csmask (Landsat 7)", unit=""),
    at_least("csmask, float64", "same_labels", "pixels with the label of the network in float64",
             99.9, **SHARE),
)  # fmt: skip
GPU = (
    at_least("gpu, forward", "share", "forward over the device's bf16 peak", 0.6, unit="",
             needs="gpus"),
    at_least("gpu, run", "busy", "share of time that the GPU is busy", 0.9, unit="", needs="gpus"),
    at_least("gpu, monai", "ratio", "MONAI on the same GPU", 3.0, needs="gpus"),
    at_least("gpu, monai_tuned", "ratio", "the same, by hand", 3.0, needs="gpus"),
    at_least("gpu, nnunet", "ratio", "nnU-Net on the same GPU", 3.0, needs="gpus"),
)  # fmt: skip
# `make bench-long`.
LONG = (
    at_least("monai, as they come, base 32", "ratio", "MONAI as it comes, 3072 px, base 32", 10.0),
    at_least("monai, as they come", "ratio", "MONAI as it comes, 3072 px, base 16", 9.0,
             without={"bfloat16": 5.0}),
    at_least("monai, float32", "ratio", "MONAI by hand, 3072 px, float32", 3.0),
    at_least("monai, bfloat16", "ratio", "MONAI by hand, 3072 px, bfloat16", 3.0,
             needs="bfloat16"),
    at_least("nnunet, volumes", "ratio",
             "nnU-Net as it comes, mirroring, 100 small volumes, both starts in it", 3.0),
    at_least("nnunet, volumes", "same_labels", "the same 100, voxels with the same label", 99.9, **SHARE),
    at_most("nnunet, volumes", "peak_bytes", "the same 100, peak memory", 2048.0, **MIB),
    told("nnunet, volumes", "peer_peak_bytes", "the same 100, peak memory of nnU-Net", **MIB),
    at_least("nnunet, volumes, float32", "ratio", "the same 100 volumes, ours in float32", 3.0),
    at_least("nnunet, volumes, float32", "same_labels",
             "the same in float32, voxels with the same label", 99.9, **SHARE),
    at_least("engines 2-D, openvino", "ratio", "OpenVINO over TensorFlow, float32, 2-D", 0.95),
    at_least("engines 2-D, bfloat16", "ratio", "the same, bfloat16 over float32", 1.8,
             needs="bfloat16"),
    at_least("engines 3-D, openvino", "ratio", "OpenVINO over TensorFlow, float32, 3-D", 0.95),
    at_least("engines 3-D, bfloat16", "ratio", "the same, bfloat16 over float32", 3.0,
             needs="bfloat16"),
    told("workers", "ratio", "time of two workers over one"),
    at_least("training, tiny", "median_rate", "training loop over bare steps, toy", 0.85),
    at_least("training, landsat8-landcover", "median_rate", "the same, land cover", 0.85),
    at_least("warmth", "ratio", "200 volumes in one run over 200 commands", 5.0),
    at_most("warmth", "idle", "the same, time that workers wait", 10.0, **SHARE),
    at_most("scale, one scene", "ms_per_block", "coordinator per block, 100 000 x 100 000", 5.0,
            unit="ms"),
    at_most("scale, one scene", "growth", "the same, its memory over the run", 1.2),
    at_most("scale, many inputs", "ms_per_input", "coordinator per input, 10 000 inputs", 5.0,
            unit="ms"),
    at_most("scale, many inputs", "growth", "the same, memory over that with 1 000", 1.2),
    at_most("resample, linear, one channel", "ratio", "resampling, linear, over torch", 2.0),
    at_most("resample, cubic, one channel", "ratio", "the same, cubic", 2.0),
)  # fmt: skip
FIGURES = (*PEERS, *RUN, *ACCURACY, *GPU, *LONG)


def target(benchmark: str, key: str) -> float:
    """Of a figure that has one, on this machine."""
    figure = next(f for f in FIGURES if (f.benchmark, f.key) == (benchmark, key))
    value = figure.target_on(this_machine())
    if value is None:
        raise LookupError(f"{figure.name} has no target")
    return value / figure.scale
