"""Rows of a source that have no prompt or no answer: counted, named, skipped, and too many of them refused."""

from __future__ import annotations

import logging

from tgpo.errors import RequestError

FEW_ROWS = 100  # of fewer rows than this, a fraction says little: as many may be bad as would be of this many

log = logging.getLogger(__name__)


class RowFilter:
    """Says of each row of `source` whether it can be used; `section` of the configuration says how many may not be."""

    def __init__(self, source: str, max_bad_fraction: float, section: str = "task") -> None:
        self.source, self.max_bad_fraction, self.section = source, max_bad_fraction, section
        self.seen, self.bad, self.last = 0, 0, ""

    def keep(self, name: str, prompt: object, answer: object) -> bool:
        """False for a row to skip."""
        self.seen += 1
        if all(value is not None and str(value).strip() for value in (prompt, answer)):
            return True
        self.bad += 1
        if self.bad == 1:
            log.warning("%s: row %s has no prompt or no answer and is skipped; others like it too", self.source, name)
        self.last = name
        return False

    def check(self) -> None:
        """Raises RequestError where more than `max_bad_fraction` of the rows so far are bad."""
        if self.bad > self.max_bad_fraction * max(self.seen, FEW_ROWS):
            found = f"{self.bad} of {self.seen} rows have no prompt or no answer, the last {self.last}"
            raise RequestError(
                f"{self.source}: {found}; mend them or raise {self.section}.max_bad_fraction (now "
                f"{self.max_bad_fraction})"
            )
