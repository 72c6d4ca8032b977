"""Skips rows without a prompt or an answer, counts and reports them, and refuses a source with too many."""

from __future__ import annotations

import logging

from tgpo.errors import RequestError

FEW_ROWS = 100  # with fewer rows than this, as many bad rows are allowed as for this many

log = logging.getLogger(__name__)


class RowFilter:
    """Decides for each row of `source` whether it can be used.

    `section` is the section of the configuration that holds `max_bad_fraction`; messages refer to it.
    """

    def __init__(self, source: str, max_bad_fraction: float, section: str = "task") -> None:
        self.source, self.max_bad_fraction, self.section = source, max_bad_fraction, section
        self.seen, self.bad, self.last = 0, 0, ""

    def keep(self, name: str, prompt: object, answer: object) -> bool:
        """Returns whether to use the row; False means that it is to be skipped."""
        self.seen += 1
        if all(value is not None and str(value).strip() for value in (prompt, answer)):
            return True
        self.bad += 1
        if self.bad == 1:
            log.warning("%s: row %s has no prompt or no answer and is skipped; others like it too", self.source, name)
        self.last = name
        return False

    def check(self) -> None:
        """Raises RequestError if more than `max_bad_fraction` of the rows so far are bad."""
        if self.bad > self.max_bad_fraction * max(self.seen, FEW_ROWS):
            counts = f"{self.bad} of {self.seen} rows have no prompt or no answer, the last {self.last}"
            raise RequestError(
                f"{self.source}: {counts}; fix them or raise {self.section}.max_bad_fraction (now "
                f"{self.max_bad_fraction})"
            )
