"""Blocks on a GPU: which runs go there (`rule`), and one block from stored values to labels (`block`)."""
