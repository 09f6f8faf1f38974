"""Workflow files: what a night is made of, read and checked before anything is run.

================  ==================================================================
``reading``       a YAML file and ``--set`` become a Workflow, or one line of complaint
``schema``        the Workflow; ``parts``, ``steps`` and ``cluster``: what it is made of
``fields``        what is written in words: sizes, durations, times, names of choices
``paths``         variables in paths, and where relative ones start
``output_names``  how products are called after their inputs
================  ==================================================================

``config.overrides`` puts ``--set`` over the file; ``config.validation`` says what pydantic found, as
place, key and what is allowed.
"""

from seg_batch.config.workflow.reading import read
from seg_batch.config.workflow.schema import Workflow

__all__ = ["Workflow", "read"]
