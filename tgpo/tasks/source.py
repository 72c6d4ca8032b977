"""Yields the rows of a hub dataset in the local cache, of a folder of data files, or of one file.

Nothing is downloaded: a hub dataset is the folder that `hf download` left in the cache, read like any other folder.
Only data files are read (Parquet, JSON, CSV, Arrow); no loading scripts or pickles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tgpo.errors import RequestError, did_you_mean
from tgpo.tasks.cells import MISSING, field
from tgpo.tasks.files import ROWS_AT_ONCE, read, readable
from tgpo.tasks.folders import Splits, first_lines, splits_of
from tgpo.tasks.hints import column_names, options_for

READABLE = ".parquet, .json, .jsonl, .csv, .ndjson, .tsv or .arrow, or one of these and .gz, .bz2, .xz or .zst"
# the messages of `datasets` when a subset (its "config") does not exist, with the list of those that do
MISSING_SUBSET = re.compile(
    r"(BuilderConfig '(?P<subset>[^']*)' not found|Config name is missing)[^\[]*(?P<valid>\[[^\]]*\])"
)


class NotFetchedError(RequestError):
    """Raised for a hub dataset that is not in the local cache; `fetch` is the command that downloads it."""

    def __init__(self, what: str, fetch: str) -> None:
        super().__init__(f"{what}; fetch it with: {fetch}")
        self.fetch = fetch


@dataclass(frozen=True)
class Source:
    """Where the rows are. `section` is the section of the configuration with these options; messages refer to it."""

    section: str
    path: str
    subset: str | None
    split: str
    revision: str | None
    option: str = "path"  # the option that holds the path

    @property
    def words(self) -> str:
        return f"{self.section}.{self.option}={self.path}"

    def rows(self, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yields every row as {option: value}, for `columns` given as {option: dotted name of the column}.

        Raises RequestError if the rows cannot be read or there are none.
        """
        local = self._local()
        if local is not None and self.revision is not None:
            raise RequestError(f"{self.section}.revision={self.revision}: {self.path} is a local copy and has none")
        empty = True
        for row in self._rows(local, columns):
            empty = False
            cells = {option: field(row, column) for option, column in columns.items()}
            yield {option: None if cell is MISSING else cell for option, cell in cells.items()}
        if empty:
            raise RequestError(f"{self.words}: no rows there{self._fix(local)}")

    def _local(self) -> Path | None:
        """Returns the file or folder of exactly this name, else with `~` expanded; None if there is none."""
        found = (path for path in (self.path, os.path.expanduser(self.path)) if os.path.exists(path))
        return next(map(Path, found), None)

    def _rows(self, local: Path | None, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        if local is not None and local.is_file():
            splits = Splits({"train": [self._file(local)]})
        else:
            splits = self._splits(self._cached() if local is None else local, local)
        try:
            parts = splits.parts(self.split)
        except ValueError as error:
            hint = did_you_mean(self.split, splits.files)
            raise RequestError(f"{self.section}.split={self.split}: no such split in {self.path}{hint}") from error
        for files, start, stop in parts:
            rows = chain.from_iterable(self._of_file(file, splits.separator, local, columns) for file in files)
            yield from islice(rows, start, stop)

    def _of_file(
        self, file: Path, separator: str | None, local: Path | None, columns: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        names = {name for column in columns.values() for name in (column, column.split(".")[0])}
        try:
            rows = read(file, names, separator)
            head = list(islice(rows, ROWS_AT_ONCE))
            self._check(file, separator, head, columns)
            yield from chain(head, rows)
        except RequestError:
            raise
        except Exception as error:  # the readers raise many kinds of errors for malformed files
            raise RequestError(f"{self.words}: {first_lines(error)}{self._fix(local)}") from error

    def _file(self, path: Path) -> Path:
        if not readable(path):
            raise RequestError(f"{self.words}: give a file that ends in {READABLE}, or a folder of them")
        for option, value, only in (("subset", self.subset, None), ("split", self.split, "train")):
            if value != only:
                raise RequestError(f"{self.section}.{option}={value}: one file has no {option}s; leave it {only}")
        return path

    def _splits(self, folder: Path, local: Path | None) -> Splits:
        import datasets

        datasets.disable_progress_bars()  # the run has its own
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # failures are raised as well as logged
        try:
            splits = splits_of(folder, self.subset)
        except (ValueError, KeyError, OSError) as error:
            text = first_lines(error)
            if match := MISSING_SUBSET.search(text):
                name, valid = match["subset"] or "null", re.findall(r"'([^']+)'", match["valid"])
                raise RequestError(
                    f"{self.section}.subset={name}: no such subset in {self.path}{did_you_mean(name, valid)}"
                ) from error
            raise RequestError(f"{self.words}: {text}{self._fix(local)}") from error
        for file in chain.from_iterable(splits.files.values()):
            if not readable(file):
                raise RequestError(f"{self.words}: {file.name} cannot be read; give files that end in {READABLE}")
        return splits

    def _check(self, file: Path, separator: str | None, head: list[dict[str, Any]], columns: Mapping[str, str]) -> None:
        """Raises RequestError for a column that none of the first rows has, with the options that name another."""
        missing = {o: c for o, c in columns.items() if head and all(field(row, c) is MISSING for row in head)}
        if missing:
            option, column = next(iter(missing.items()))
            rows = list(islice(read(file, None, separator), 100))
            hint = options_for(self.section, missing, rows) or did_you_mean(column, column_names(rows))
            raise RequestError(f"{self.section}.{option}={column}: no such column in {self.path}{hint}")

    def _cached(self) -> Path:
        """Returns the folder of a hub dataset in the local cache; raises NotFetchedError if it is not there."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        missing = f"{self.words}: no such file or folder"
        if readable(Path(self.path)) or self.path.startswith(("/", ".", "~")) or self.path.count("/") > 1:
            raise RequestError(f"{missing}; give a local file or folder, or the name of a hub dataset")
        try:
            return Path(
                snapshot_download(self.path, repo_type="dataset", revision=self.revision, local_files_only=True)
            )
        except HFValidationError:
            raise RequestError(f"{missing}, and no name of a hub dataset") from None
        except LocalEntryNotFoundError:
            revision = "" if self.revision is None else f" at revision {self.revision}"
            message = f"{missing}, and no such dataset{revision} in the local cache{self._revisions()}"
            raise NotFetchedError(message, self.fetch) from None

    @property
    def fetch(self) -> str:
        revision = "" if self.revision is None else f" --revision {self.revision}"
        return f"hf download --repo-type dataset {self.path}{revision}"

    def _revisions(self) -> str:
        """Returns the revisions of this dataset that are in the cache, as a part of a message."""
        from huggingface_hub import constants, scan_cache_dir
        from huggingface_hub.errors import CacheNotFound

        try:
            repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
        except CacheNotFound:
            return ""
        hashes = sorted(
            revision.commit_hash
            for repository in repositories
            if repository.repo_type == "dataset" and repository.repo_id == self.path
            for revision in repository.revisions
        )
        return f" (there: {', '.join(hashes)})" if hashes else ""

    def _fix(self, local: Path | None) -> str:
        """Returns a suggestion to append to an error message; empty for a local folder."""
        if local is None:
            return f"; if files are missing, fetch it again: {self.fetch}"
        return f"; is it the {local.suffix} file its name says?" if local.is_file() else ""
