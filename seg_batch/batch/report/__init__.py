"""The report of a run, made from its journal and the reports of its products."""

from seg_batch.batch.report.write import write

__all__ = ["write"]
