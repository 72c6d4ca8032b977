"""Everything that can be known to be wrong before a model loads, and what was found where nothing is.

One file for each family of checks; `checks.py` lists them in order, the cheap ones first.
"""
