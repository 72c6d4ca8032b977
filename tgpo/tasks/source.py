"""Rows of a dataset through `datasets`: a hub dataset in the local cache, a folder of its files, or one file.

Nothing is downloaded: a hub dataset is the folder that `hf download` left in the cache, read as any other folder. Data
files alone are read (parquet, JSON, CSV, Arrow); loading scripts and pickles are not among what `datasets` loads.
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
# how `datasets` says that a split or a subset (its "config") is not there, and which are
MISSING_PART = re.compile(
    r"(Unknown split \"(?P<split>[^\"]*)\"|BuilderConfig '(?P<subset>[^']*)' not found|Config name is missing)"
    r"[^\[]*(?P<valid>\[[^\]]*\])"
)

EMPTY = {  # what the readers say of files without a row
    "BatchSize must be greater than 0, got 0": "no rows there",
    "No columns to parse from file": "no rows there",
}


class NotFetchedError(RequestError):
    """A hub dataset that is not in the local cache; `fetch` is the command that brings it there."""

    def __init__(self, what: str, fetch: str) -> None:
        super().__init__(f"{what}; fetch it with: {fetch}")
        self.fetch = fetch


@dataclass(frozen=True)
class Source:
    """Where rows are. `section` is where the configuration says so: mistakes are told in its terms."""

    section: str
    path: str
    subset: str | None
    split: str
    revision: str | None

    @property
    def words(self) -> str:
        return f"{self.section}.path={self.path}"

    def rows(self, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Every row, as {option: value}, for `columns` as {option: dotted name of a column}."""
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
        """The split, memory-mapped; raises RequestError for what cannot be read."""
        import datasets

        datasets.disable_progress_bars()  # the run has one of its own
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what fails is raised as well
        local, here = Path(self.path).expanduser(), self.words
        if local.exists() and self.revision is not None:
            raise RequestError(f"{self.section}.revision={self.revision}: {self.path} is a local copy and has none")
        try:
            found = self._file(local) if local.is_file() else self._folder(local if local.is_dir() else self._cached())
        except StopIteration:  # what `datasets` makes of files without a row
            found = ()
        except RequestError:
            raise
        except Exception as error:  # the readers raise many kinds for a file that is not what it should be
            text = first_message(error)
            if found := MISSING_PART.search(text):
                part = "split" if found["split"] is not None else "subset"
                name, valid = found["split"] or found["subset"] or "null", re.findall(r"'([^']+)'", found["valid"])
                raise RequestError(
                    f"{self.section}.{part}={name}: no such {part} in {self.path}{did_you_mean(name, valid)}"
                ) from error
            raise RequestError(f"{here}: {text}{self._mend(local)}") from error
        if not len(found):
            raise RequestError(f"{here}: no rows there{self._mend(local)}")
        assert isinstance(found, datasets.Dataset)
        return found

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
        """The folder of a hub dataset in the local cache."""
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
            there = f"{missing}, and no such dataset{revision} in the local cache{self._revisions()}"
            raise NotFetchedError(there, self.fetch) from None

    @property
    def fetch(self) -> str:
        revision = "" if self.revision is None else f" --revision {self.revision}"
        return f"hf download --repo-type dataset {self.path}{revision}"

    def _revisions(self) -> str:
        """Those of this dataset that the cache has."""
        from huggingface_hub import constants, scan_cache_dir
        from huggingface_hub.errors import CacheNotFound

        try:
            repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
        except CacheNotFound:
            return ""
        found = sorted(
            revision.commit_hash
            for repository in repositories
            if repository.repo_type == "dataset" and repository.repo_id == self.path
            for revision in repository.revisions
        )
        return f" (there: {', '.join(found)})" if found else ""

    def _mend(self, local: Path) -> str:
        if local.is_file():
            return f"; is it the {local.suffix} file its name says?"
        return "" if local.is_dir() else f"; if files are missing, fetch it again: {self.fetch}"


def column_names(features: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every column and, dotted, every field inside one."""
    for name, feature in features.items():
        yield prefix + name
        if isinstance(feature, Mapping):
            yield from column_names(feature, f"{prefix}{name}.")


def entry(row: Mapping[str, Any], column: str, top: str) -> Any:
    value: Any = row[top]
    for name in filter(None, column[len(top) :].split(".")):
        value = None if value is None else value[name]
    return value


def first_message(error: BaseException) -> str:
    """The first line that says something: `datasets` wraps what its readers raise."""
    from datasets.exceptions import DatasetGenerationError

    cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
    text = " ".join(str(cause).strip().splitlines()[:2]) or type(cause).__name__
    return EMPTY.get(text, text)
