"""The report of a run, made from its journal and the reports of its products."""
