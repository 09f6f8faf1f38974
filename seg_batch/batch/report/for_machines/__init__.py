"""The results of a run for other programs: JUnit XML and metrics for Prometheus."""
