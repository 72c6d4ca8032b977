"""Whatever befalls a checkpoint's files after they were written is seen, and the file is named."""

from __future__ import annotations

import random
import shutil

import pytest

from tests.parts import small, state_of
from tgpo.runs import checksums
from tgpo.runs.resume import newest_intact
from tgpo.training import checkpoint


@pytest.fixture(scope="module", params=[(), ("lora.rank=2",)], ids=["weights", "adapters"])
def run(request, tmp_path_factory):
    """Two checkpoints, with everything in them that a checkpoint can have."""
    found = tmp_path_factory.mktemp("run")
    parts = small(*request.param)
    trainer = parts.trainer
    for step in (1, 2):
        trainer.step(step)
        checkpoint.save(found / "checkpoints", step, state_of(parts))
    names = set(files(found / "checkpoints" / "step-2"))
    assert names > {*checksums.ALWAYS, checksums.NAME, "model/model.safetensors", "model/tokenizer.json"}
    assert ("adapters/adapter_model.safetensors" in names) == bool(request.param)
    return found


def files(folder):
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def test_one_flipped_byte_in_any_file(run):
    older, newer = (run / "checkpoints" / f"step-{step}" for step in (1, 2))
    assert newest_intact(run) == (newer, [])
    rng = random.Random(0)
    for name in files(newer):
        content = (newer / name).read_bytes()
        for place in {0, len(content) - 1, rng.randrange(len(content))}:
            (newer / name).write_bytes(flipped(content, place))
            found, skipped = newest_intact(run)
            assert found == older, name
            assert len(skipped) == 1 and skipped[0].startswith(f"checkpoints/step-2/{name}: damaged"), name
        (newer / name).write_bytes(content)
    assert newest_intact(run) == (newer, [])


def test_a_flipped_byte_anywhere_in_the_manifest(run, tmp_path):
    content = (run / "checkpoints" / "step-2" / checksums.NAME).read_bytes()
    assert checksums.listed(run / "checkpoints" / "step-2")
    for place in range(0, len(content), 5):
        (tmp_path / checksums.NAME).write_bytes(flipped(content, place))
        assert checksums.listed(tmp_path) is None, place


def test_any_file_missing_or_cut_short(run):
    older, newer = (run / "checkpoints" / f"step-{step}" for step in (1, 2))
    for name in files(newer):
        path = newer / name
        content = path.read_bytes()
        path.unlink()
        assert newest_intact(run) == (older, [f"checkpoints/step-2/{name}: missing"])
        for kept in (0, len(content) - 1):
            path.write_bytes(content[:kept])
            found, skipped = newest_intact(run)
            assert found == older, name
            assert skipped[0].startswith(f"checkpoints/step-2/{name}: damaged"), name
        path.write_bytes(content)
    assert newest_intact(run) == (newer, [])


def test_who_needs_the_model_alone_looks_at_it_alone(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    newer = copy / "checkpoints" / "step-2"
    (newer / "optimizer.safetensors").unlink()
    assert newest_intact(copy, "model/") == (newer, [])
    (newer / "model" / "model.safetensors").write_bytes(b"")
    found, skipped = newest_intact(copy, "model/")
    assert found is not None and found.name == "step-1"
    assert "step-2/model/model.safetensors: damaged (0 bytes of" in skipped[0]


def test_an_older_version_wrote_no_manifest(run, tmp_path):
    """Taken as it is, if it has what every checkpoint has; the command says that it could not be verified."""
    copy = shutil.copytree(run / "checkpoints" / "step-2", tmp_path / "checkpoints" / "step-2")
    state = copy / "state.json"
    state.write_text(state.read_text().replace(f'"{checksums.MARK}": true', '"other": true'))
    (copy / checksums.NAME).unlink()
    assert newest_intact(tmp_path) == (copy, [])
    assert not checksums.is_listed(copy)
    (copy / "optimizer.safetensors").unlink()
    assert newest_intact(tmp_path) == (None, ["checkpoints/step-2/optimizer.safetensors: missing"])
