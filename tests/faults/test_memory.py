"""Memory runs out: in training the batch is computed in more parts, elsewhere in smaller batches; nothing changes
but the time it takes.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from victims import FLAGS, TINY

import gendi
import gendi.train.step.trainer as trainer_module
from gendi.cli import main
from gendi.data import open_data
from gendi.data.images.extractors import ModuleExtractor
from gendi.diffusion.batches import in_batches
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives.simple import Simple
from gendi.errors import PreemptedError, ResourceError, UsageError, is_out_of_memory
from gendi.machine.distributed import Team
from gendi.storage.files import read_json
from gendi.storage.toml import read_toml
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.progress.heldout import Heldout
from gendi.train.run.loop import train
from gendi.train.step.parts import Parts
from gendi.train.step.trainer import Trainer
from stop_at import StopAt

Kind = Callable[[], BaseException]
KINDS: list[Kind] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: MemoryError(),
    lambda: _real(),
]


def _real() -> BaseException:
    """What torch raises on the CPU, from an allocation that no machine can make."""
    try:
        torch.empty(2**58)
    except RuntimeError as error:
        return error
    raise AssertionError


def auto(config: RunConfig = TINY, parts: int = 0) -> RunConfig:
    """Without dropout, whose masks are drawn part by part."""
    network, steady = dataclasses.replace(config.network, dropout=0.0), dataclasses.replace(config.train)
    return dataclasses.replace(config, network=network, train=dataclasses.replace(steady, accumulate=parts))


def out_of_memory_above(patch: pytest.MonkeyPatch, rows: int, kind: Kind, after_backward: bool = False) -> list[int]:
    """Have training run out of memory in any part of more than `rows` rows; return the rows of those that did."""
    real, failed = Parts.through, list[int]()

    def through(self: Parts, work: Callable[[slice], torch.Tensor], undo: Callable[[], None]) -> torch.Tensor:
        def bounded(part: slice) -> torch.Tensor:
            count = part.stop - part.start
            if count > rows and not after_backward:
                failed.append(count)
                raise kind()
            losses = work(part)
            if count > rows:
                failed.append(count)
                raise kind()
            return losses

        return real(self, bounded, undo)

    patch.setattr(Parts, "through", through)
    return failed


def assert_same(a: Path, b: Path) -> None:
    """Every tensor and every line of metrics."""
    one, two = load_latest(a), load_latest(b)
    assert one is not None and two is not None and one.step == two.step
    for group, tensors in one.tensors.items():
        assert tensors.keys() == two.tensors[group].keys()
        assert all(torch.equal(value, two.tensors[group][name]) for name, value in tensors.items()), group
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after_backward", [False, True])
def test_out_of_memory_in_training_halves_and_accumulates(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, after_backward: bool
) -> None:
    """Bit for bit what so many parts give from the start: a step that ran out of memory leaves no trace."""
    train(pictures, auto(parts=4), tmp_path / "four", Budget(steps=7))
    with monkeypatch.context() as patch:
        failed = out_of_memory_above(patch, 2, kind, after_backward)
        result = train(pictures, auto(), tmp_path / "auto", Budget(steps=7))
    assert result.finished and failed == [6, 3]  # 6 rows, 3 and 3; then 1, 2, 1, 2
    assert_same(tmp_path / "auto", tmp_path / "four")
    log = (tmp_path / "auto" / "train.log").read_text()
    assert "out of memory in step 0: batches are now computed in 4 parts" in log


def test_out_of_memory_in_the_middle_of_a_step_leaves_no_trace(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second part of a step, after the first one's gradient is there: as if a person had gone on in more."""
    run, by_hand = tmp_path / "auto", tmp_path / "by hand"
    stop = StopAt(3)
    with pytest.raises(PreemptedError):
        train(pictures, auto(parts=2), by_hand, Budget(steps=7), console=stop)
    train(pictures, auto(parts=4), by_hand, Budget(steps=7))
    real, failed = Simple.losses, list[int]()

    def loss(self: Simple, denoiser: Any, x_0: torch.Tensor, *others: Any) -> torch.Tensor:
        calls.append(len(x_0))
        if len(x_0) == 6 or (len(calls) == 1 + 2 * 3 + 2):  # the whole batch; the second part of the fourth step
            failed.append(len(x_0))
            raise torch.OutOfMemoryError
        return real(self, denoiser, x_0, *others)

    calls: list[int] = []
    monkeypatch.setattr(Simple, "losses", loss)
    train(pictures, auto(), run, Budget(steps=7))
    assert failed == [6, 3]
    assert_same(run, by_hand)


def test_the_parts_that_memory_held_are_kept_and_told(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(pictures, auto(parts=2), tmp_path / "two", Budget(steps=7))
    failed = out_of_memory_above(monkeypatch, 3, KINDS[0])
    with pytest.raises(PreemptedError):
        train(pictures, auto(), tmp_path / "auto", Budget(steps=7), console=StopAt(4))
    train(pictures, auto(), tmp_path / "auto", Budget(steps=7))
    assert failed == [6]  # not once more after going on
    assert "each batch of 6 is computed in 2 parts" in (tmp_path / "auto" / "train.log").read_text()
    assert_same(tmp_path / "auto", tmp_path / "two")


@pytest.mark.parametrize(("parts", "tried"), [(0, [6, 3, 1]), (1, [6]), (2, [3])])
def test_out_of_memory_in_training_says_batch_resolution_and_flag_exit_5(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, tried: list[int]
) -> None:
    failed = out_of_memory_above(monkeypatch, 0, KINDS[0])
    with pytest.raises(ResourceError) as caught:
        train(pictures, auto(parts=parts), tmp_path / "run", Budget(steps=7))
    said = str(caught.value)
    assert caught.value.exit_code == 5 and "batch size 6 of 6 x 6, 1 channel(s)" in said and "--size" in said
    assert read_json(tmp_path / "run" / "status.json")["status"] == "failed"
    assert list(dict.fromkeys(failed)) == tried
    if parts:
        assert "--batch-size auto" in said and f"--train.accumulate {2 * parts}" in said and "--batch-size 3" in said
    else:
        assert "even one row at a time" in said and "accumulate" not in said


def test_another_fault_is_not_taken_for_it(pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = out_of_memory_above(monkeypatch, 2, lambda: RuntimeError("mat1 and mat2 do not fit"))
    with pytest.raises(RuntimeError, match="do not fit"):
        train(pictures, auto(), tmp_path / "run", Budget(steps=7))
    assert failed == [6]


def test_batch_size_auto_is_a_flag_that_is_kept(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The preset's batch, or --train.batch-size: results do not depend on the machine."""
    run, flags = tmp_path / "run", list(FLAGS)
    flags[flags.index("--batch-size")] = "--train.batch-size"
    words = ["train", pictures, *flags, "--batch-size", "auto", "--out", str(run)]
    failed = out_of_memory_above(monkeypatch, 2, KINDS[1])
    assert main([*words, "--steps", "2"]) == 0
    kept = read_toml(run / "config.toml")["config"]["train"]
    assert (kept["batch_size"], kept["accumulate"], failed) == (4, 0, [4])
    assert main([*words, "--steps", "4"]) == 0 and failed == [4]
    assert main([*words, "--steps", "4", "--train.accumulate", "2"]) == 2
    assert "cannot be given together" in capsys.readouterr().err
    assert main(["train", pictures, "--batch-size", "many"]) == 2


def test_auto_over_several_processes_is_refused(pictures: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Team):
        size = 2

    monkeypatch.setattr(trainer_module, "team", Two)
    with pytest.raises(UsageError, match="is for one process, and there are 2"):
        Trainer(auto(), open_data(pictures))


# ------------------------------------------------------------------------------------------------ elsewhere


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 3, 8])
def test_batches_that_memory_does_not_hold_are_halved(kind: Kind, most: int) -> None:
    done: list[int] = []

    def work(rows: slice) -> None:
        if rows.stop - rows.start > most:
            raise kind()
        done.extend(range(rows.start, rows.stop))

    assert in_batches(21, 8, work) == max(b for b in (8, 4, 2, 1) if b <= most)
    assert done == list(range(21))
    with pytest.raises(type(kind())):
        in_batches(3, 8, lambda rows: (_ for _ in ()).throw(kind()))


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_memory_in_sampling_gives_the_same_images(
    finished: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """The network is refused more than three rows at once; images differ by what another batch size rounds."""
    bundle = gendi.load(str(finished))
    whole = gendi.sample(bundle, n=8, steps=3, seed=5)
    small = gendi.sample(bundle, n=8, steps=3, seed=5, batch_size=2)
    real, failed = NetworkDenoiser.forward, list[int]()

    def forward(self: Any, x_t: torch.Tensor, *others: Any, **cond: Any) -> Any:
        if len(x_t) > 3:
            failed.append(len(x_t))
            raise kind()
        return real(self, x_t, *others, **cond)

    monkeypatch.setattr(NetworkDenoiser, "forward", forward)
    split = gendi.sample(bundle, n=8, steps=3, seed=5, batch_size=8)
    assert failed == [8, 4]
    assert np.array_equal(split, small)
    assert np.abs(split.astype(int) - whole.astype(int)).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_memory_in_evaluation_gives_the_same_features(kind: Kind) -> None:
    class Small(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 3:
                raise kind()
            return x.flatten(1) * 2

    images = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 1), dtype=np.uint8)
    extractor = ModuleExtractor(Small(), name="small", batch_size=8)
    found = extractor(images)
    assert np.array_equal(found, images.reshape(11, 16).astype(np.float32) / 255 * 2) and extractor.batch_size == 2


@pytest.mark.parametrize("kind", KINDS)
def test_out_of_memory_in_a_held_out_loss_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """Each row's loss, from batches that are halved; their mean differs by what another batch size rounds."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.integers(0, 256, (300, 6, 6), dtype=np.uint8), labels=np.arange(300) % 3)
    trainer = Trainer(TINY, open_data(str(tmp_path / "x.npz")))
    heldout = Heldout(trainer.data, trainer.objective, TINY.conditions, 0, trainer.device)
    denoiser, real, failed = trainer.ema_denoiser(), Simple.losses, list[int]()
    whole = heldout(denoiser)

    def loss(self: Simple, denoiser: Any, x_0: torch.Tensor, *others: Any) -> torch.Tensor:
        if len(x_0) > 2:
            failed.append(len(x_0))
            raise kind()
        return real(self, denoiser, x_0, *others)

    monkeypatch.setattr(Simple, "losses", loss)
    split = heldout(denoiser)
    assert len(failed) > 2 and max(failed) > 8
    assert split[0] == pytest.approx(whole[0], rel=1e-5) and split[1] == pytest.approx(whole[1], rel=1e-5)


def test_what_is_out_of_memory() -> None:
    assert all(is_out_of_memory(kind()) for kind in KINDS)
    assert not is_out_of_memory(RuntimeError("size mismatch")) and not is_out_of_memory(OSError("disk full"))
