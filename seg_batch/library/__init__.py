"""Bundles from elsewhere: fetched, unpacked, checked and moved into the user's folder, and lists of them.

A file from elsewhere is hostile until it is checked: its size is bounded, its paths stay inside, no code comes with
it, and nothing of it is run. Nothing is fetched without being asked for.
"""
