"""Inputs of other machines: bytes of files behind ``https``, ``s3``, ``gs`` and ``az``, read range by range."""
