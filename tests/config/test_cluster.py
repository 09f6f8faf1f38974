"""Cluster specs: what is read, and what is refused before any Dask is imported."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.config.cluster import CLASSES, ClusterSpec, read_spec
from seg_batch.config.workflow import read
from seg_batch.config.workflow.parts import LimitSettings
from seg_batch.core.errors import ClusterError
from seg_batch.core.units import parse_seconds
from seg_batch.executors.cluster.deploy import lifetime_advice, walltime_s
from tests.support.patience import PATIENCE_S

READY = sorted((Path(__file__).resolve().parents[2] / "workflows" / "clusters").glob("*.yaml"))
NOON = datetime(2026, 1, 15, 12)
QUEUE = {"cluster": "dask_jobqueue.SLURMCluster"}


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGBATCH_TLS", raising=False)


@pytest.mark.parametrize("word", ["auto", "inline", "local", "tcp://node-7.example.org:8786"])
def test_words_and_addresses(word: str) -> None:
    assert read_spec(word) == ClusterSpec(cluster=word)


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_the_ready_specs_are_read(path: Path) -> None:
    spec = read_spec(str(path))
    assert spec.cluster in CLASSES or "://" in spec.cluster


def test_a_file_says_the_same_as_its_mapping(tmp_path: Path) -> None:
    mapping = {**QUEUE, "arguments": {"cores": 2}, "adapt": {"maximum": 3}, "lifetime": "1h"}
    path = tmp_path / "queue.yaml"
    path.write_text(yaml.safe_dump(mapping))
    assert read_spec(str(path)) == read_spec(mapping) == ClusterSpec.model_validate(mapping)


def test_both_names_of_a_class() -> None:
    assert read_spec({"cluster": "dask.distributed.LocalCluster"}).cluster.startswith("distributed")


@pytest.mark.parametrize("walltime", ["12:00:00", "'12:00:00'", "1-12:00:00"])
def test_a_file_and_a_workflow_read_the_same_words(tmp_path: Path, walltime: str) -> None:
    """``12:00:00`` is no number of seconds: SLURM would take it for minutes."""
    text = f"cluster: dask_jobqueue.SLURMCluster\narguments: {{walltime: {walltime}, cores: 2}}\n"
    path = tmp_path / "queue.yaml"
    path.write_text(text)
    night = tmp_path / "night.yaml"
    night.write_text("inputs: a\noutputs: o\ncluster:\n  " + text.replace("\n", "\n  "))
    spec = read_spec(str(path))
    assert spec == read(night, env={}).cluster
    assert spec.arguments["walltime"] == walltime.strip("'")
    assert walltime_s(spec) == (3600 * 12 if "-" not in walltime else 3600 * 36)


WRONG = [
    ("moon", "moon"),
    ("locla", "did you mean local?"),
    ("tcp://nowhere", "no address"),
    ("http://host:80", "no address"),
    ("tls://host:8786", "segbatch cluster certs"),
    ("nowhere.yaml", "can't be read"),
    ({"cluster": "dask_jobqueue.SLURMCluter"}, "did you mean dask_jobqueue.SLURMCluster?"),
    ({"cluster": "os.system"}, "no cluster class 'os.system'"),
    ({"cluster": "subprocess.Popen", "arguments": {"args": "true"}}, "no cluster class"),
    ({**QUEUE, "argument": {}}, "did you mean arguments?"),
    ({**QUEUE, "adapt": {"maximum": 3, "minimun": 1}}, "did you mean minimum?"),
    ({**QUEUE, "adapt": {"minimum": 4, "maximum": 3}}, "above maximum"),
    ({**QUEUE, "adapt": {"minimum": 0, "maximum": 3}}, "adapt.minimum"),
    ({**QUEUE, "workers": 2, "adapt": {"maximum": 3}}, "exclude each other"),
    ({**QUEUE, "workers": -1}, "workers"),
    ({**QUEUE, "lifetime": "soon"}, "no length of time"),
    ({**QUEUE, "arguments": {"memory": "lots"}}, "lots"),
    ({"cluster": "local", "arguments": {"n_workers": 3}}, "belongs to a cluster class"),
    ({"cluster": "tcp://host:8786", "security": "certs"}, "not encrypted"),
    ({"cluster": "distributed.SSHCluster", "security": "certs"}, "takes no certificates"),
    ({"workers": 2, "lifetime": "1h"}, "belongs to a cluster class"),
]


@pytest.mark.parametrize(("cluster", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_said_in_one_line(cluster: str, told: str) -> None:
    with pytest.raises(ClusterError) as error:
        read_spec(cluster)
    assert told in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cluster: [", "spec.yaml:1:11: not YAML"),
        ("- a\n- b", "names no cluster"),
        ("workers: 2", "names no cluster"),
        ("cluster: &a local\nsecurity: *a", "aliases"),
        ("cluster: !!python/object/apply:os.system ['true']", "1:10: the tag"),
        ("cluster: local\n" + "#" * 1_100_000, "1 MiB"),
        ("cluster: \x00", "1:10: a control character"),
        ("cluster: local\nwait: 5m\nliftime: 5m\n", "3:1: unknown key 'liftime'; did you mean"),
        ("cluster: local\nwait: soon\n", "yaml:2:7: wait: 'soon' is no length"),
    ],
)
def test_hostile_files(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(ClusterError, match=told):
        read_spec(str(path))


@pytest.mark.full
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ClusterError):  # and nothing else
        assert read_spec(text).cluster == text


def test_certificates_are_found_beside_the_file_and_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tls.yaml"
    path.write_text("cluster: tls://host:8786\nsecurity: certs\n")
    assert read_spec(str(path)).security == str(tmp_path / "certs")
    monkeypatch.setenv("SEGBATCH_TLS", str(tmp_path / "mine"))
    assert read_spec("tls://host:8786").security == str(tmp_path / "mine")
    assert read_spec("local").security is None
    with pytest.raises(ClusterError, match="not encrypted"):
        read_spec("tcp://host:8786")


@pytest.mark.full
def test_reading_a_spec_imports_no_dask(tmp_path: Path) -> None:
    program = (
        "import sys; from seg_batch.config.cluster import read_spec; read_spec(sys.argv[1]); "
        "print(*{m.split('.')[0] for m in sys.modules} & {'dask', 'distributed', 'dask_jobqueue'})"
    )
    command = [sys.executable, "-c", program, str(READY[-2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


COUNTS = st.tuples(*[st.none() | st.integers(0, 999) | st.sampled_from([0.5, 1.25])] * 4)


@given(COUNTS, st.sampled_from(["m", "min"]), st.sampled_from(["", " "]))
def test_lengths_of_time(counts: tuple[float | None, ...], minute: str, between: str) -> None:
    """In a cluster's file as in a workflow."""
    named = [
        (n, unit) for n, unit in zip(counts, ("d", "h", minute, "s"), strict=True) if n is not None
    ]
    text = between.join(f"{n}{unit}" for n, unit in named)
    units = {"d": 86400, "h": 3600, minute: 60, "s": 1}
    total = sum(n * units[unit] for n, unit in named)
    if total:
        assert parse_seconds(text) == parse_seconds(f" {text} ") == total
        spec = ClusterSpec.model_validate({**QUEUE, "lifetime": text})
        assert (spec.lifetime_s, LimitSettings(wall_time=text).deadline(NOON)) == (
            total,
            NOON.timestamp() + total,
        )
    else:
        with pytest.raises(ValueError, match="no length of time"):
            parse_seconds(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "5 m", "-5m", "0s", "5m!", "1e3s", "٣m3x", "٣m", "8 hours", "9" * 400 + "h"],
)
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_seconds(text)


def queue(walltime: str, **more: str) -> ClusterSpec:
    return ClusterSpec.model_validate({**QUEUE, "arguments": {"walltime": walltime}, **more})


@pytest.mark.parametrize(
    ("told", "is_s"),
    [
        *(("04:00:00", 14400), ("90", 5400), ("30:30", 1830), ("1-12", 129600)),
        *(("1-12:30", 131400), ("2-00:00:10", 172810), ("UNLIMITED", None)),
    ],
)
def test_walltime_as_slurm_reads_it(told: str, is_s: float | None) -> None:
    assert walltime_s(queue(told)) == is_s


def test_advice_where_jobs_end_before_the_work() -> None:
    (line,) = lifetime_advice(queue("04:00:00"))
    assert "lifetime: 3h48m" in line
    assert lifetime_advice(queue("04:00:00", lifetime="3h48m")) == ()
    with pytest.raises(ClusterError, match="not before the jobs' end"):
        lifetime_advice(queue("04:00:00", lifetime="4h"))
    assert lifetime_advice(ClusterSpec(cluster="distributed.LocalCluster")) == ()
    (line,) = lifetime_advice(ClusterSpec.model_validate(QUEUE))  # the site's setting: 30 minutes
    assert "after 30m" in line


@given(st.integers(1, 10**6))
def test_the_advised_lifetime_is_accepted(walltime: int) -> None:
    hours, rest = divmod(walltime, 3600)
    told = f"{hours}:{rest // 60}:{rest % 60}"
    if walltime >= 10:
        (line,) = lifetime_advice(queue(told))
        best = line.partition("lifetime: ")[2].partition(" ")[0]
        assert lifetime_advice(queue(told, lifetime=best)) == ()
