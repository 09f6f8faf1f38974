"""Workflow files: the description of a run, read and checked before anything is run.

================  ==================================================================
``reading``       a YAML file and ``--set`` become a Workflow, or an error of one line
``schema``        the Workflow; ``parts``, ``steps`` and ``cluster``: its members
``option_keys``   keys made of the declarations of options
``fields``        types of values: sizes, durations, times of day, post-processing steps
``stac``          items of a STAC catalogue as inputs
``network``       what ``watch`` receives over DICOM's network, and where it sends products
``paths``         variables in paths, and the folders of relative paths
``output_names``  names of products, made of those of their inputs
================  ==================================================================

``config.overrides`` puts ``--set`` over the file; ``config.validation`` words pydantic's complaints.
"""

from seg_batch.config.workflow.reading import read
from seg_batch.config.workflow.schema import Workflow, with_network

__all__ = ["Workflow", "read", "with_network"]
