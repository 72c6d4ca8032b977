"""Finds the files of each split of a folder: what `datasets` would read there, or what its `save_to_disk` wrote."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tgpo.runs.files import read_json
from tgpo.tasks.files import read

# the files of `save_to_disk`: one for several splits, one for each of them
SAVED_SPLITS, SAVED_STATE = "dataset_dict.json", "state.json"
PATTERN = re.compile(r"[*?\[\]]|:(?=:)")  # what `datasets` does not take as it is


@dataclass(frozen=True)
class Splits:
    """The files of each split, in their order, and what separates the cells of CSV files (None for the usual)."""

    files: dict[str, list[Path]]
    separator: str | None = None

    def parts(self, split: str) -> list[tuple[list[Path], int, int | None]]:
        """Returns files and which of their rows to read: one such part for a split, several for train[:9]+test.

        Raises ValueError for a split that is not there.
        """
        from datasets import ReadInstruction

        if split in self.files:
            return [(self.files[split], 0, None)]
        if not set("[+") & set(split):
            raise ValueError(f"no split {split}")
        sizes = {
            name: sum(1 for file in files for _ in read(file, None, self.separator))
            for name, files in self.files.items()
        }
        parts = ReadInstruction.from_spec(split).to_absolute(sizes)
        return [(self.files[part.splitname], part.from_, part.to) for part in parts]


def splits_of(folder: Path, subset: str | None) -> Splits:
    if subset is None and (names := read_json(folder / SAVED_SPLITS).get("splits")):
        return Splits({name: saved_files(folder / name) for name in names})
    if subset is None and (files := saved_files(folder)):
        own = read_json(folder / SAVED_STATE).get("_split") or "train"
        return Splits(dict.fromkeys((own, "train"), files))  # a dataset without splits is one, train
    return splits_by_name(folder, subset)


def saved_files(folder: Path) -> list[Path]:
    """Returns the files of a split that `save_to_disk` wrote; none if it is not there."""
    return [folder / Path(file["filename"]).name for file in read_json(folder / SAVED_STATE).get("_data_files", [])]


def splits_by_name(folder: Path, subset: str | None) -> Splits:
    """Lets `datasets` find the files by their names and the folder's README.

    It takes the folder's own path as a part of a pattern, so it is shown a mirror at a path of plain characters.
    """
    from datasets import load_dataset_builder

    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch).resolve() / "rows"
        if PATTERN.search(str(plain)):
            raise ValueError(f"{scratch} for temporary files would be taken as a pattern; set TMPDIR to another folder")
        names = mirror(folder.absolute(), plain)
        try:
            builder = load_dataset_builder(str(plain), subset, cache_dir=f"{scratch}/cache")
            config: Any = builder.config
            found = {str(split): [Path(file) for file in files] for split, files in (config.data_files or {}).items()}
        except Exception as error:
            raise ValueError(first_lines(error).replace(str(plain), str(folder))) from error
        files = {split: [original(file, names) for file in copies] for split, copies in found.items()}
        return Splits(files, getattr(config, "sep", None))


def mirror(folder: Path, copy: Path) -> dict[Path, Path]:
    """Makes the same tree of folders with links to the files, and returns what each link stands for.

    A link to a folder stays one, for what follows it. Names that `datasets` would take as patterns, or split at `::`,
    become plain ones, in the README too.
    """
    names = dict[Path, Path]()
    renamed = dict[str, str]()
    linked(folder, copy, names, renamed)
    for card in (copy / "README.md", copy / ".huggingface.yaml") if renamed else ():
        if card in names:
            content = names[card].read_text(encoding="utf-8")
            for name in sorted(renamed, key=len, reverse=True):
                content = content.replace(name, renamed[name])
            card.unlink()
            card.write_text(content, encoding="utf-8")
    return names


def linked(folder: Path, copy: Path, names: dict[Path, Path], renamed: dict[str, str]) -> None:
    copy.mkdir()
    entries = sorted(folder.iterdir())
    taken = {entry.name for entry in entries}
    for entry in entries:
        plain = PATTERN.sub("x", entry.name)
        while plain != entry.name and plain in taken:
            plain = f"x{plain}"
        if plain != entry.name:
            taken.add(plain)
            renamed[entry.name] = plain
        if entry.is_dir() and not entry.is_symlink():
            linked(entry, copy / plain, names, renamed)
        else:
            (copy / plain).symlink_to(entry)
            names[copy / plain] = entry


def original(file: Path, names: Mapping[Path, Path]) -> Path:
    """Returns the file that a file of the mirror stands for; it may be below a link to a folder."""
    link = next((place for place in (file, *file.parents) if place in names), None)
    if link is None:
        raise ValueError(f"its README names {file}, which is not in the folder")
    return names[link] / file.relative_to(link)


def first_lines(error: BaseException) -> str:
    return " ".join(str(error).strip().splitlines()[:2]) or type(error).__name__
