"""Times writing, verifying and restoring a 0.5B student's checkpoint with AdamW's moments; checks what was restored."""

from __future__ import annotations

from benchmarks.gpu.models import random_model, request_for, scored_batch, state_of, trainer_for
from benchmarks.gpu.setting import Record, Setting, clocked
from tgpo.models.loading import load_model
from tgpo.runs import checksums
from tgpo.training import checkpoint


def measure(setting: Setting, record: Record) -> None:
    device = setting.device
    request = request_for(f"train.device={device.type}")
    model = random_model(setting, "0.5B")
    vocabulary = model.config.vocab_size
    batch = scored_batch(request.objective, 8, 8, setting.pick(504, 24), vocabulary, device)
    trainer = trainer_for(model, request, batch, vocabulary)
    trainer.step(1)
    record.row(what="written", **write(setting, trainer))
    path = setting.scratch / "step-1"
    with clocked(device, seconds := list[float]()):
        damage = checksums.damage(path, "")
    record.row(what="verified", seconds=seconds[0], damage=damage)
    with clocked(device, seconds := list[float]()):
        reloaded = load_model(str(path / "model"), "float32", device)
        restored = trainer_for(reloaded, request, batch, vocabulary)
        checkpoint.restore(path, restored.policy, restored.optimizer, restored.objective)
    apart = max(float((a - b).abs().max()) for a, b in zip(model.parameters(), reloaded.parameters(), strict=True))
    next_norms = [t.step(2)[0]["gradient/norm"] for t in (trainer, restored)]
    record.row(what="restored", seconds=seconds[0], weights_apart=apart, gradient_norms_of_the_next_step=next_norms)


def write(setting: Setting, trainer) -> dict[str, float]:
    with clocked(setting.device, seconds := list[float]()):
        path = checkpoint.save(setting.scratch, 1, state_of(trainer))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {"seconds": seconds[0], "bytes": size, "bytes a second": size / seconds[0]}
