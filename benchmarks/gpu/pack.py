"""`make gpu-pack` puts the wheels that a bare GPU machine lacks into `.whl/`, for a machine without a network.

Such a machine has Python 3.12 on x86-64 with torch, transformers and the usual scientific packages. Packages that
draw reports (vl-convert, altair) or log online (wandb) are left out: the benchmarks need neither, and tree and wheels
together must be under 64 MiB.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".whl"
LIMIT = 64 * 2**20
MISSING = (
    "annotated-types", "hydra-core", "latex2sympy2_extended", "math-verify", "omegaconf", "pebble", "pydantic",
    "pydantic-core", "tenacity", "typing-inspection",
)  # fmt: skip
SOURCE_ONLY = ("antlr4-python3-runtime",)  # pure Python, but published as a source archive alone
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    target = ["--python-version", "3.12", "--implementation", "cp", *(w for p in PLATFORMS for w in ("--platform", p))]
    pinned = [[f"{name}=={metadata.version(name)}" for name in names] for names in (MISSING, SOURCE_ONLY)]
    run([*pip, "download", "--no-deps", "--only-binary=:all:", *target, "--dest", str(FOLDER), *pinned[0]])
    run([*pip, "wheel", "--no-deps", "--wheel-dir", str(FOLDER), *pinned[1]])
    wheels, tree = size(FOLDER.iterdir()), size(tracked())
    print(f"{FOLDER.name}: {wheels / 2**20:.1f} MiB of wheels, {tree / 2**20:.1f} MiB of tree")
    if wheels + tree > LIMIT:
        sys.exit(f"error: together more than {LIMIT // 2**20} MiB; a machine without a network would not take them")


def run(command: list[str]) -> None:
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


def tracked() -> list[Path]:
    """Returns the files that git would add: tracked files, and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def size(paths) -> int:
    return sum(path.stat().st_size for path in paths)


if __name__ == "__main__":
    main()
