"""What is asked of every worker before it gets any work."""

from __future__ import annotations

from seg_batch.errors import ClusterError
from seg_batch.executors.pool import Pool
from seg_batch.version import package_version


def check_versions(pool: Pool) -> None:
    """ClusterError unless every worker runs this version of the package."""
    version = package_version()
    try:
        found = pool.ask(package_version)
    except Exception as error:
        raise ClusterError(
            f"a worker can't import segbatch ({error}): install segbatch {version} on the workers"
        ) from None
    wrong = {worker: v for worker, v in found.items() if v != version}
    if wrong:
        worker, other = next(iter(wrong.items()))
        raise ClusterError(
            f"worker {worker} runs segbatch {other}, this is {version}, so blocks could differ: "
            "install one version everywhere"
        )
