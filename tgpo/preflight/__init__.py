"""Checks a request for everything that can be known to be wrong before a model loads, and reports what was found.

There is one file for each family of checks; `checks.py` lists them in order, the cheap ones first.
"""
