"""Reads rows through `datasets`: from a hub dataset in the local cache, a folder of data files, or one file.

Nothing is downloaded: a hub dataset is the folder that `hf download` left in the cache, read like any other folder.
Only data files are read (parquet, JSON, CSV, Arrow); `datasets` loads no loading scripts or pickles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgpo.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

READERS = {".parquet": "from_parquet", ".json": "from_json", ".jsonl": "from_json", ".csv": "from_csv"}
# the messages of `datasets` when a split or a subset (its "config") does not exist, with the list of those that do
MISSING_PART = re.compile(
    r"(Unknown split \"(?P<split>[^\"]*)\"|BuilderConfig '(?P<subset>[^']*)' not found|Config name is missing)"
    r"[^\[]*(?P<valid>\[[^\]]*\])"
)

EMPTY = {  # the readers' messages for files without rows
    "BatchSize must be greater than 0, got 0": "no rows there",
    "No columns to parse from file": "no rows there",
}


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

    @property
    def words(self) -> str:
        return f"{self.section}.path={self.path}"

    def rows(self, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yields every row as {option: value}, for `columns` given as {option: dotted name of the column}."""
        dataset = self.dataset()
        names = list(column_names(dataset.features))
        for option, column in columns.items():
            if column not in names:
                raise RequestError(
                    f"{self.section}.{option}={column}: no such column in {self.path}{did_you_mean(column, names)}"
                )
        top = {column: column if column in dataset.features else column.split(".")[0] for column in columns.values()}
        row: Any
        for row in dataset.select_columns(sorted(set(top.values()))):
            yield {option: entry(row, column, top[column]) for option, column in columns.items()}

    def dataset(self) -> Dataset:
        """Returns the split, memory-mapped. Raises RequestError if it cannot be read or has no rows."""
        import datasets

        datasets.disable_progress_bars()  # the run has its own
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # failures are raised as well as logged
        local, here = Path(self.path).expanduser(), self.words
        if local.exists() and self.revision is not None:
            raise RequestError(f"{self.section}.revision={self.revision}: {self.path} is a local copy and has none")
        try:
            rows = self._file(local) if local.is_file() else self._folder(local if local.is_dir() else self._cached())
        except StopIteration:  # `datasets` raises this for files without rows
            rows = ()
        except RequestError:
            raise
        except Exception as error:  # the readers raise many kinds of errors for malformed files
            text = first_message(error)
            if match := MISSING_PART.search(text):
                part = "split" if match["split"] is not None else "subset"
                name, valid = match["split"] or match["subset"] or "null", re.findall(r"'([^']+)'", match["valid"])
                raise RequestError(
                    f"{self.section}.{part}={name}: no such {part} in {self.path}{did_you_mean(name, valid)}"
                ) from error
            raise RequestError(f"{here}: {text}{self._fix(local)}") from error
        if not len(rows):
            raise RequestError(f"{here}: no rows there{self._fix(local)}")
        assert isinstance(rows, datasets.Dataset)
        return rows

    def _file(self, path: Path) -> Any:
        from datasets import Dataset

        if path.suffix not in READERS:
            raise RequestError(f"{self.words}: give a file that ends in {', '.join(READERS)}, or a folder of them")
        for option, value, only in (("subset", self.subset, None), ("split", self.split, "train")):
            if value != only:
                raise RequestError(f"{self.section}.{option}={value}: one file has no {option}s; leave it {only}")
        return getattr(Dataset, READERS[path.suffix])(str(path))

    def _folder(self, path: Path) -> Any:
        from datasets import load_dataset

        return load_dataset(str(path), self.subset, split=self.split)

    def _cached(self) -> Path:
        """Returns the folder of a hub dataset in the local cache; raises NotFetchedError if it is not there."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        missing = f"{self.words}: no such file or folder"
        if Path(self.path).suffix in READERS or self.path.startswith(("/", ".", "~")) or self.path.count("/") > 1:
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

    def _fix(self, local: Path) -> str:
        """Returns a suggestion to append to an error message; empty for a local folder."""
        if local.is_file():
            return f"; is it the {local.suffix} file its name says?"
        return "" if local.is_dir() else f"; if files are missing, fetch it again: {self.fetch}"


def column_names(features: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the name of every column and the dotted name of every field inside a column."""
    for name, feature in features.items():
        yield prefix + name
        if isinstance(feature, Mapping):
            yield from column_names(feature, f"{prefix}{name}.")


def entry(row: Mapping[str, Any], column: str, top: str) -> Any:
    """Returns the value of the dotted `column` below the column `top`; None where a part of the path is None."""
    value: Any = row[top]
    for name in filter(None, column[len(top) :].split(".")):
        value = None if value is None else value[name]
    return value


def first_message(error: BaseException) -> str:
    """Returns the start of the message of the underlying error, which `datasets` wraps in one of its own."""
    from datasets.exceptions import DatasetGenerationError

    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    text = " ".join(str(cause).strip().splitlines()[:2]) or type(cause).__name__
    return EMPTY.get(text, text)
