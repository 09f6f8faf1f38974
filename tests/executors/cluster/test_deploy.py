"""Cluster classes by name: real clusters of dask-jobqueue and distributed, on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import yaml

from seg_batch.config.cluster import ClusterSpec, read_spec
from seg_batch.core.errors import ClusterError
from seg_batch.executors import open_pool
from seg_batch.executors.cluster.deploy import class_of, start_cluster
from tests.support.files import segbatch
from tests.support.patience import until


def written(path: Path, **spec: Any) -> str:
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def jobs(**more: Any) -> dict[str, Any]:
    """A queue whose jobs are processes of this machine: all of dask-jobqueue but the queue."""
    arguments = {"cores": 2, "memory": "3GB", "nanny": False, "log_directory": None}
    return {"cluster": "dask_jobqueue.local.LocalCluster", "arguments": arguments, **more}


def queue(**arguments: Any) -> dict[str, Any]:
    return {"cluster": "dask_jobqueue.SLURMCluster", "arguments": arguments}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (jobs(arguments={"core": 2, "memory": "1GB"}), "no argument 'core'; did you mean cores?"),
        (jobs(arguments={"memory": "1GB"}), "can't be started"),
        ({"cluster": "distributed.LocalCluster", "arguments": {"memori_limit": 0}}, "memory_limit"),
        ({"cluster": "distributed.LocalCluster", "arguments": {"host": "999.1.1.1"}}, "started"),
        ({"cluster": "distributed.LocalCluster", "arguments": {"env": "A=1"}}, "no mapping"),
        (queue(worker_extra_args="--foo"), "'--foo' is no list of words"),
        (queue(processes=0), "processes: 0 is no whole number"),
        (queue(cores="two"), "cores: 'two' is no whole number"),
        (queue(job_script_prologue={"a": 1}), "no list of words"),
    ],
)
def test_bad_arguments(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(ClusterError, match=told) as error:
        start_cluster(read_spec(spec), 1, None)
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("name", "install"),
    [
        ("dask_kubernetes.operator.KubeCluster", "pip install dask-kubernetes"),
        ("dask_cuda.LocalCUDACluster", "pip install dask-cuda"),
    ],
)
def test_a_missing_library_comes_with_its_remedy(name: str, install: str) -> None:
    with pytest.raises(ClusterError, match=install):
        class_of(name)


@pytest.mark.full
def test_ssh_clusters_without_asyncssh() -> None:
    spec = {"cluster": "distributed.SSHCluster", "arguments": {"hosts": ["a", "b"]}}
    with pytest.raises(ClusterError, match="asyncssh"), open_pool(spec, 1):
        pass


def _pid_and_threads() -> tuple[int, int]:
    from distributed import get_worker

    return os.getpid(), get_worker().state.nthreads


@pytest.mark.full
def test_a_queue_keeps_up_its_workers_and_is_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Certificates of this run's own, no page for others, and a job that is lost is replaced."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "segbatch" / "tls"
    spec = jobs(workers=2)
    soon = {"distributed.deploy.lost-worker-timeout": "1s"}
    with dask.config.set(soon), open_pool(spec, 1) as pool:
        assert pool.name == "LocalCluster"
        until(lambda: len(pool.workers_now()) == 2)
        before = pool.workers_now()
        assert all(address.startswith("tls://") for address in before)
        assert len(list(cache.iterdir())) == 1
        assert str(pool.dashboard).startswith("http://127.0.0.1:")
        assert list(pool.memory_limits().values()) == pytest.approx([3e9, 3e9], rel=0.01)
        pids = pool.ask(os.getpid)
        os.kill(pids[before[0]], 9)
        until(lambda: before[0] not in (now := pool.workers_now()) and len(now) == 2)
    assert not list(cache.iterdir())


@pytest.mark.full
def test_a_spec_file_runs_a_scene(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    path = written(tmp_path / "two.yaml", cluster="distributed.LocalCluster", workers=2)
    ran = segbatch("predict", scene, "-o", out, "--model", "probe", "--cluster", path, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["executor"] == "LocalCluster"
    assert ran.json["plan"]["workers"] == 2
    with rasterio.open(scene) as before, rasterio.open(out) as after:
        assert np.array_equal(after.read(1), before.read(1) % 8)


@pytest.mark.full
def test_bounds_that_adapt(tmp_path: Path) -> None:
    """Tasks that wait bring a second worker, and no third."""
    enough = tmp_path / "enough"

    def waiting() -> None:
        while not enough.exists():
            time.sleep(0.05)

    spec = ClusterSpec.model_validate(
        {"cluster": "distributed.LocalCluster", "adapt": {"minimum": 1, "maximum": 2}}
    )
    with open_pool(spec, 1) as pool:
        assert len(pool.workers_now()) == 1
        tasks = [pool.submit(waiting) for _ in range(12)]
        until(lambda: len(pool.workers_now()) == 2)
        time.sleep(1)  # in which a third one might be asked for
        assert len(pool.workers_now()) == 2
        enough.touch()
        until(lambda: all(task.done() for task in tasks))


@pytest.mark.full
def test_planning_on_a_cluster_asks_nobody(scene: Path, tmp_path: Path) -> None:
    """Memory is that of a job, workers are those of the spec, and no Dask is imported."""
    arguments = {"cores": 8, "memory": "24GB", "walltime": "01:00:00"}
    cluster = "dask_jobqueue.SLURMCluster"
    path = written(
        tmp_path / "queue.yaml", cluster=cluster, arguments=arguments, adapt={"maximum": 7}
    )
    ran = segbatch("plan", scene, "--model", "probe", "--cluster", path, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["memory_bytes"] == int(24e9 * 0.6)
