"""Benchmarks a GPU in eight minutes: `make gpu`, or `make gpu-bare` where vLLM and the network are missing.

Each phase is a module; they run in order of importance. A phase writes `gpu-PHASE.json` after every result and has its
own time limit; if it fails, the others still run. `--rehearse` runs the same code on a CPU at toy sizes.
"""
