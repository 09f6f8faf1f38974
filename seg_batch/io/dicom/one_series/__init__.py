"""One series: what makes it a volume, its volumes, its place in the patient, and what its stored numbers mean."""
