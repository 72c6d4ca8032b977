"""What a GPU tells in eight minutes: `make gpu`, or `make gpu-bare` where vLLM and the network are missing.

One module a phase, in the order of worth; each writes `gpu-PHASE.json` as soon as it knows something, has a time limit
of its own, and leaves the others be when it fails. `--rehearse` runs the same code on a CPU at toy sizes.
"""
