"""Workers of our own making on this machine: one per GPU, a dashboard on loopback, dask-cuda."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seg_batch.executors import open_pool
from seg_batch.executors.cluster.dask_settings import SETTINGS, cuda_cluster
from tests.support.files import segbatch
from tests.support.patience import PATIENCE_S


def _env(name: str) -> str | None:
    return os.environ.get(name)


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names only: what is tested is what processes are told."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,GPU-5a,7")


@pytest.mark.full
@pytest.mark.usefixtures("four_gpus")
def test_one_process_per_gpu_by_its_own_name() -> None:
    with open_pool("local", 3) as pool:
        seen = pool.ask(_env, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["2", "3", "GPU-5a"]
        assert pool.dashboard


@pytest.mark.full
def test_the_dashboard_is_on_loopback_only() -> None:
    from urllib.request import urlopen

    with open_pool("local", 1) as pool:
        assert pool.dashboard is not None
        assert pool.dashboard.startswith("http://127.0.0.1:")
        with urlopen(pool.dashboard, timeout=PATIENCE_S) as page:
            text = page.read().decode()
        (address,) = pool.workers_now()
        assert address in text
        port = pool.dashboard.split(":")[2].partition("/")[0]
        listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True).stdout
        ends = [line.split()[1] for line in listening.splitlines()[1:]]
        (local,) = {
            end for end in ends if end.endswith(f":{int(port):04X}") and end[:8] == "0100007F"
        }
        assert f"00000000:{int(port):04X}" not in ends
        assert local


@pytest.mark.full
def test_a_local_cluster_is_started_by_no_import(tmp_path: Path) -> None:
    program = (
        "import sys; from seg_batch.executors import open_pool\n"
        "with open_pool('auto', 1) as pool: pass\n"
        "print('distributed' in sys.modules, pool.dashboard, pool.workers_now())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False None ('this process',)", done.stderr


def _settings() -> dict[str, Any]:
    import dask

    return {name: dask.config.get(name) for name in SETTINGS}


@pytest.mark.full
@pytest.mark.parametrize("cluster", ["local", "distributed.LocalCluster"])
def test_every_worker_has_our_settings(cluster: str) -> None:
    """Also one that starts late. With Dask's own profiler a worker that lives long grows."""
    spec = cluster if cluster == "local" else {"cluster": cluster, "workers": 2}
    with open_pool(spec, 2) as pool:
        assert list(pool.ask(_settings).values()) == [SETTINGS, SETTINGS]
        if cluster == "local":
            pool._cluster.scale(3)  # type: ignore[attr-defined]
            pool._client.wait_for_workers(3, timeout=PATIENCE_S)  # type: ignore[attr-defined]
            assert list(pool.ask(_settings).values()) == [SETTINGS] * 3


@pytest.mark.full
def test_workers_end_without_a_word(scene: Path, tmp_path: Path) -> None:
    """Though the file they read is still open then."""
    out = tmp_path / "out.tif"
    asked = ("--model", "probe", "--cluster", "local", "--workers", 2, "--quiet")
    ran = segbatch("predict", scene, "-o", out, *asked)
    assert (ran.status, ran.err) == (0, "")


STAND_IN = """
from distributed import LocalCluster

class LocalCUDACluster(LocalCluster):
    def __init__(self, n_workers, CUDA_VISIBLE_DEVICES, **arguments):
        assert n_workers == len(CUDA_VISIBLE_DEVICES), CUDA_VISIBLE_DEVICES
        told = {"OF_DASK_CUDA": ",".join(CUDA_VISIBLE_DEVICES)}
        super().__init__(n_workers=n_workers, env=told, **arguments)
"""


@pytest.mark.full
@pytest.mark.usefixtures("four_gpus")
def test_dask_cuda_is_used_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for it that takes what it takes: no release of it goes with every Dask."""
    (tmp_path / "dask_cuda.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    with open_pool("local", 2) as pool:
        assert set(pool.ask(_env, "OF_DASK_CUDA").values()) == {"2,3"}
    sys.modules.pop("dask_cuda")
    (tmp_path / "dask_cuda.py").write_text("raise TypeError('made for another Dask')")
    assert cuda_cluster(2) is None
