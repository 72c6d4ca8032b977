"""Reads the history of an offline W&B run: LevelDB log framing around protobuf records (wandb ships no reader)."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def chunks(data: bytes) -> Iterator[bytes]:
    """The payloads of the log, as far as it is written: each fragment has a 7-byte header (crc32 of the rest of the
    fragment from its type on, length, type); none crosses a block.
    """
    assert data[:4] in (b":W&B", b"")  # nothing, before the first block is written
    position, parts = HEADER, b""
    while position + 7 <= len(data):
        room = BLOCK - position % BLOCK
        if room < 7:
            position += room
            continue
        checksum, length, kind = struct.unpack("<IHB", data[position : position + 7])
        body = data[position + 7 : position + 7 + length]
        if zlib.crc32(data[position + 6 : position + 7] + body) != checksum:
            return  # W&B's own process is at it: the rest of the fragment is not there yet
        position += 7 + length
        parts = body if kind in (FULL, FIRST) else parts + body
        if kind in (FULL, LAST):
            yield parts


def kept(run: Path, kind: str) -> list[Any]:
    """The records of one kind of the finished offline run below `run`."""
    (path,) = run.glob("wandb/offline-run-*/run-*.wandb")
    records, end = parsed(path), time.monotonic() + 20
    while not any(record.WhichOneof("record_type") == "exit" for record in records):
        # W&B's own process writes the last block a moment after `finish` has returned
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.02)
        records = parsed(path)
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def parsed(path: Path) -> list[wandb_internal_pb2.Record]:
    return [wandb_internal_pb2.Record.FromString(chunk) for chunk in chunks(path.read_bytes())]


def values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def history(run: Path) -> list[dict[str, Any]]:
    """The logged rows of the offline run below `run`."""
    return [values(record.item) for record in kept(run, "history")]


def summary(run: Path) -> dict[str, Any]:
    """What its summary was in the end."""
    merged: dict[str, Any] = {}
    for record in kept(run, "summary"):
        merged |= values(record.update)
    return merged
