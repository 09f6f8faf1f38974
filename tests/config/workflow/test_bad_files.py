"""Every fault of a workflow file is one line: file, line, column, key, and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_batch.config.workflow import read
from seg_batch.core.errors import WorkflowError

GOOD = "inputs: a.tif\noutputs: out\n"
TRAIN = "outputs: out\nsteps:\n  - {do: train, data: d, output: b}\n"

# What the file says; where the fault is; words of the complaint.
FAULTS = {
    "unknown key": (
        GOOD + "modle: x\n",
        "3:1",
        ["unknown key 'modle'", "did you mean model", "steps"],
    ),
    "unknown inside": (
        GOOD + "limits:\n  memroy: 8GiB\n",
        "4:3",
        ["'memroy'", "memory", "wall_time"],
    ),
    "unknown in flow": (GOOD + "options: {tta: flips, tiper: hann}\n", "3:23", ["mean taper"]),
    "option of a step": (
        "outputs: out\nsteps:\n  - do: train\n    data: d\n    output: b\n    minuts: 5\n",
        "6:5",
        ["'minuts'", "did you mean minutes", "from"],
    ),
    "key twice": (GOOD + "model: a\nmodel: b\n", "4:1", ["'model'", "twice", "line 3"]),
    "key twice inside": (
        "inputs: {list: a,\n  list: b}\noutputs: o\n",
        "2:3",
        ["'list'", "line 1"],
    ),
    "wrong choice": (
        GOOD + "options:\n  tta: flip\n",
        "4:8",
        ["'flip'", "did you mean flips", "d4z"],
    ),
    "wrong literal": (
        GOOD + "options:\n  precision: half\n",
        "4:14",
        ["'half'", "float32", "mixed"],
    ),
    "wrong engine": (GOOD + "options: {engine: onnx}\n", "3:19", ["'onnx'", "openvino"]),
    "wrong type": (GOOD + "workers: many\n", "3:10", ["workers", "'many'", "a whole number"]),
    "bool for a number": (GOOD + "workers: true\n", "3:10", ["workers", "a whole number"]),
    "text for a list": (
        GOOD + 'options: {block: "16,64,64"}\n',
        "3:18",
        ["options.block: found '16,64,64', it takes a list, written like [16,64,64]"],
    ),
    "a number or a word": (
        GOOD + "options: {overlap: many}\n",
        "3:20",
        ["options.overlap: found 'many', it takes a whole number or 'auto'"],
    ),
    "too small a number or a word": (
        GOOD + "options: {overlap: -1}\n",
        "3:20",
        ["found -1, it should be greater than or equal to 0"],
    ),
    "a doubtful bool": (GOOD + "options: {probabilities: perhaps}\n", "3:26", ["true or false"]),
    "a name with spaces": (GOOD + "name: a b\n", "3:7", ["'a b', it takes letters, digits"]),
    "a number for a cluster": (GOOD + "cluster: 3\n", "3:10", ["text (in quotes) or keys and"]),
    "negative": (GOOD + "workers: -1\n", "3:10", ["greater than or equal to 0"]),
    "number for words": (
        GOOD + "limits:\n  memory: 8\n",
        "4:11",
        ["limits.memory", "text (in quotes)"],
    ),
    "no size": (GOOD + "limits:\n  memory: much\n", "4:11", ["'much' is no size", "8GiB"]),
    "no duration": (
        GOOD + "limits: {wall_time: 8 hours}\n",
        "3:21",
        ["no length of time", "1h30m"],
    ),
    "no time": (GOOD + "limits:\n  stop_at: 24:30\n", "4:12", ["'24:30'", "06:30"]),
    "a nightly sexagesimal": (GOOD + "limits:\n  stop_at: 6.30\n", "4:12", ["stop_at"]),
    "step after": (GOOD + "post:\n- largest\n- min_sise:2mL\n", "5:3", ["min_sise", "min_size"]),
    "none and more": (GOOD + "post: [none, largest]\n", "3:7", ["none stands alone"]),
    "no input": ("outputs: out\n", "1:1", ["nothing to do", "inputs", "steps"]),
    "empty inputs": (
        "inputs: {exclude: a}\noutputs: out\n",
        "1:9",
        ["nothing to segment", "manifest"],
    ),
    "no outputs": ("inputs: a.tif\n", "1:1", ["lacks the key 'outputs'"]),
    "no folder": ("inputs: a\noutputs:\n  pattern: '{stem}'\n", "3:3", ["lacks the key 'folder'"]),
    "a list for keys": ("inputs: a\noutputs: o\nlimits: [8GiB]\n", "3:9", ["wall_time", "a list"]),
    "text for keys": ("inputs: a\noutputs: o\nlimits: 8GiB\n", "3:9", ["memory", "'8GiB'"]),
    "pattern field": (
        GOOD.replace("out\n", "{folder: o, pattern: '{stm}'}\n"),
        "2:31",
        ["mean stem"],
    ),
    "pattern leaves": (
        "inputs: a\noutputs:\n  folder: o\n  pattern: ../{stem}\n",
        "4:12",
        ["leaves"],
    ),
    "pattern ending": (
        "inputs: a\noutputs:\n  folder: o\n  pattern: '{stem}.tif'\n",
        "4:12",
        [".tif"],
    ),
    "pattern code": (
        "inputs: a\noutputs:\n  folder: o\n  pattern: '{stem.x}'\n",
        "4:12",
        ["{stem.x}"],
    ),
    "format": (
        GOOD.replace("out\n", "{folder: o, formats: {raster: png}}\n"),
        "2:40",
        ["'png'", "zarr"],
    ),
    "no such variable": ("inputs: ${NOWHERE}/a\noutputs: o\n", "1:9", ["NOWHERE is not set", ":-"]),
    "open variable": ("inputs: a\noutputs: ${OUT\n", "2:10", ["not closed"]),
    "bad variable": ("inputs: a\noutputs: ${O-T}\n", "2:10", ["${O-T} is no variable"]),
    "a shell line": (
        GOOD + "on_finish: ['mail me']\n",
        "3:13",
        ["on_finish.0: found 'mail me', it takes a list", "[mail, me]"],
    ),
    "an empty command": (GOOD + "on_finish: [[]]\n", "3:13", ["on_finish.0", "at least 1"]),
    "retries": (GOOD + "on_failure: {retries: 99}\n", "3:23", ["less than or equal to 20"]),
    "block": (GOOD + "options: {block: [64]}\n", "3:18", ["options.block", "at least 2"]),
    "no cluster": (GOOD + "cluster: locale\n", "3:10", ["'locale' is unknown", "inline, local"]),
    "no address": (GOOD + "cluster: http://x\n", "3:10", ["'http://x' is no address"]),
    "no keys": (
        GOOD + "cluster: tls://x:8786\n",
        "3:10",
        ["asks for certificates", "SEGBATCH_TLS"],
    ),
    "a class": (GOOD + "cluster:\n  cluster: os.system\n", "4:3", ["no cluster class 'os.system'"]),
    "a cluster's key": (GOOD + "cluster:\n  wait: 5m\n  liftime: 5m\n", "5:3", ["mean lifetime"]),
    "a cluster's length": (
        GOOD + "cluster:\n  cluster: dask_jobqueue.SLURMCluster\n  lifetime: soon\n",
        "5:13",
        ["cluster.lifetime: 'soon' is no length of time"],
    ),
    "bounds": (
        GOOD + "cluster:\n  adapt: {minimum: x, maximum: 2}\n",
        "4:20",
        ["cluster.adapt.minimum", "whole number"],
    ),
    "no command": ("outputs: o\nsteps:\n  - data: d\n", "3:5", ["steps.0", "'do'"]),
    "wrong command": (
        "outputs: o\nsteps:\n  - do: trian\n",
        "3:5",
        ["'trian'", "'train'", "'patches'"],
    ),
    "missing in a step": ("outputs: o\nsteps:\n  - do: train\n    data: d\n", "3:5", ["'output'"]),
    "steps and inputs": (GOOD + TRAIN.split("\n", 1)[1], "1:1", ["inputs", "move them there"]),
    "a step twice": (
        TRAIN + "  - {do: train, data: d, output: c}\n",
        "1:1",
        ["two steps", "train"],
    ),
    "a later step": (
        "outputs: out\nsteps:\n"
        "  - {do: evaluate, data: d, model: '${steps.train.output}', output: e}\n"
        "  - {do: train, data: d, output: b}\n",
        "3:36",
        ["no earlier step is called 'train'"],
    ),
    "no result": (
        TRAIN + "  - {do: evaluate, data: d, model: '${steps.train.bundle}', output: e}\n",
        "4:36",
        ["${steps.NAME.output}"],
    ),
    "half an evaluation": (
        "outputs: o\nsteps:\n  - {do: evaluate, data: d, output: e}\n",
        "3:5",
        ["predictions and truth"],
    ),
    "no YAML": ("inputs: [a, b\noutputs: o\n", "2:8", ["not YAML"]),
    "a variable in braces": (
        "outputs: {folder: ${OUT}/x}\n",
        "1:20",
        ["not YAML", "quote what holds ${"],
    ),
    "a tab": ("inputs:\n\tpaths: a\n", "2:1", ["not YAML"]),
    "no mapping": ("- a\n- b\n", "1:1", ["no keys and values"]),
    "a word": ("hello", "1:1", ["no keys and values"]),
    "empty": ("", "1:1", ["no keys and values"]),
    "two documents": (GOOD + "---\n" + GOOD, "3:1", ["single document"]),
    "an alias": ("a: &a [x]\ninputs: *a\n", "2:9", ["aliases are not read"]),
    "a bomb": ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "2:8", ["aliases are not read"]),
    "a merge": ("a: &a {x: 1}\nb:\n  <<: *a\n", "3:7", ["aliases are not read"]),
    "a tag": (GOOD + "model: !!python/object/apply:os.system [ls]\n", "3:8", ["tag '!!python"]),
    "a tag on text": (GOOD + "model: !x y\n", "3:8", ["tag '!x'"]),
    "a lying tag": (GOOD + "workers: !!int x\n", "3:10", ["tag '!!int'"]),
    "a bytes tag": (GOOD + "model: !!binary aGk=\n", "3:8", ["tag '!!binary'"]),
    "a key that is a list": ("? [a]\n: b\n", "1:3", ["a key is a word"]),
    "a long number": (GOOD + f"workers: {'9' * 5000}\n", "3:10", ["5000 digits"]),
    "a deep nest": ("inputs: " + "[" * 500 + "]" * 500, "1:48", ["more than 40 levels"]),
    "a control character": ("inputs: a\noutputs: o\x07\n", "2:11", ["control character"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_one_line_with_its_place(name: str, tmp_path: Path) -> None:
    text, place, words = FAULTS[name]
    path = tmp_path / "night.yaml"
    path.write_text(text)
    with pytest.raises(WorkflowError) as refused:
        read(path, env={})
    said = refused.value.message
    assert said.startswith(f"{path}:{place}: "), said
    assert "\n" not in said
    assert all(word in said for word in words), said
    assert refused.value.status == 2
    python = (
        "valid tuple",
        "valid int",
        "valid str",
        "valid bool",
        "after validation",
        "unable to",
    )
    assert not any(word in said for word in python), said


def test_the_fault_that_stands_first_is_told_and_the_others_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "night.yaml"
    path.write_text("modle: x\n" + GOOD + "options:\n  tta: flip\n")
    with pytest.raises(WorkflowError, match=r"night.yaml:1:1: unknown key.*further.*:5:8\)"):
        read(path)


def test_files_that_are_no_workflow_at_all(tmp_path: Path) -> None:
    path = tmp_path / "night.yaml"
    with pytest.raises(WorkflowError, match=r"can.t be read.*No such file"):
        read(path)
    with pytest.raises(WorkflowError, match=r"can.t be read.*directory"):
        read(tmp_path)
    path.write_bytes(b"inputs: a\noutputs: caf\xe9\n")
    with pytest.raises(WorkflowError, match=r"night.yaml:2:13: not UTF-8"):
        read(path)
    path.write_text(GOOD + "#" * (1 << 20))
    with pytest.raises(WorkflowError, match="larger than 1 MiB"):
        read(path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("outputs.foldr=x", ["--set outputs.foldr: unknown key 'foldr'", "did you mean folder"]),
        ("modle=x", ["--set modle: unknown key 'modle'", "did you mean model"]),
        ("options.tta=flip", ["--set options.tta: ", "'flip'", "flips"]),
        ("options={tta: flip}", ["--set options: ", "'flip'"]),
        ("workers", ["is no setting", "part.key=value"]),
        ("a..b=1", ["is no setting"]),
        ("=1", ["is no setting"]),
        ("workers=[1", ["--set workers:1:3: not YAML"]),
        ("workers=*x", ["--set workers:1:1: aliases"]),
        ("inputs.exclude=[x]", ["inputs is 'a.tif' in the file", "as a whole"]),
        ("on_finish.3=[x]", ["on_finish has no item '3': it has 1"]),
        ("on_finish.0.1.x=1", ["on_finish.0.1 is 'b'"]),
        ("outputs.folder=", ["--set outputs.folder: ", "nothing"]),
    ],
)
def test_a_wrong_setting_is_refused_the_same_way(
    setting: str, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "night.yaml"
    path.write_text(GOOD.replace("out\n", "{folder: o}\n") + "on_finish: [[a, b]]\n")
    with pytest.raises(WorkflowError) as refused:
        read(path, [setting])
    assert all(word in refused.value.message for word in words), refused.value.message
    assert "\n" not in refused.value.message
