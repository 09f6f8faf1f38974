"""Workflow files: what a night is made of, read and checked before anything is run.

============  ==================================================================
``read``      a YAML file and ``--set`` become a Workflow, or one line of complaint
``schema``    the Workflow; ``parts`` and ``steps``: what it is made of
``values``    what is written in words: sizes, durations, times, names of choices
``settings``  ``--set``: values put over the file
``paths``     variables in paths, and where relative ones start
``complaint`` what pydantic found, as place, key and what is allowed
``inputs``    the inputs that a workflow names, each with its output; ``naming``
============  ==================================================================
"""

from seg_batch.workflow.inputs import Entry, Listing, Refused, listed
from seg_batch.workflow.read import read
from seg_batch.workflow.schema import Workflow

__all__ = ["Entry", "Listing", "Refused", "Workflow", "listed", "read"]
