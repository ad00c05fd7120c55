"""The feature network of any folder: the same every time, kept, honest about its skill, and chosen by the fakes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_controls import data_of, drawings

from gendi.data.dataset import Data
from gendi.data.images import choose_extractors, learned_features
from gendi.data.images.choose_extractors import LearnedExtractor
from gendi.data.images.choose_extractors import choose_extractors as choose
from gendi.data.images.control_checks import DISTANCES, ControlCheck
from gendi.data.images.evaluation import evaluate
from gendi.data.images.extractors import Extractor, state_sha256
from gendi.data.images.learned_features import learned_network
from gendi.data.split import Split
from gendi.errors import PreemptedError, UsageError


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path))
    monkeypatch.setattr(learned_features, "STEPS", 25)
    return tmp_path


@pytest.fixture(scope="module")
def drawn() -> Data:
    """Discs and bars, whose class is known by their shape: the middle row of a disc is wider than a bar's."""
    pictures = drawings(700, 0)
    return data_of(pictures[:600], pictures[600:])


def chosen(data: Data, named: str = "auto") -> tuple[Extractor, list[str]]:
    (extractor,), notes = choose(named, data, None, "cpu", n=200)
    return extractor, notes


def test_it_is_trained_once_and_then_read(drawn: Data, quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = learned_network(drawn)
    (path,) = (quick / "extractors").iterdir()
    kept = path.read_bytes()
    path.unlink()
    again = learned_network(drawn)  # trained anew: every draw is keyed
    assert state_sha256(again.network) == state_sha256(first.network)
    assert path.read_bytes() == kept
    monkeypatch.setattr(learned_features, "train_network", lambda *_: pytest.fail("trained again"))
    read = learned_network(drawn)
    assert state_sha256(read.network) == state_sha256(first.network)
    assert read.skill == pytest.approx(first.skill)
    path.write_bytes(kept[:100])  # damaged: it is trained again
    with pytest.raises(pytest.fail.Exception):
        learned_network(drawn)


def test_other_pictures_have_another_network(drawn: Data, quick: Path) -> None:
    learned_network(drawn)
    learned_network(dataclasses.replace(drawn, fingerprint="others"))
    assert len(list((quick / "extractors").iterdir())) == 2


def test_its_skill_is_that_on_held_out_pictures(drawn: Data) -> None:
    """Among 64 pictures, matching by chance is right in 1 of 127; noise levels that nobody looks at explain nothing."""
    skill = learned_network(drawn).skill
    assert skill.keys() == {"match", "turn", "level"}
    assert skill["match"] > 0.1 and skill["level"] > 0.3
    constant = data_of(drawn.train.rows[:], np.full((100, 16, 16, 1), 250, np.uint8))
    same = learned_network(dataclasses.replace(constant, fingerprint="constant")).skill
    assert same["match"] < 0.1 and same["turn"] < 0.5  # all held-out pictures are alike: nothing can be told


def test_pictures_of_any_shape(drawn: Data) -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 9, 3), (70, 66, 1), (1, 1, 4)):
        rows = rng.integers(0, 256, (210, *shape), dtype=np.uint8)
        data = dataclasses.replace(data_of(rows[:200], rows[200:]), fingerprint=str(shape))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(learned_features, "STEPS", 1)
            extractor, _ = chosen(data, "learned")
        assert extractor(rows[:3]).shape == (3, learned_features.WIDTHS[-1])
        assert ("area" in extractor.resize) is (shape[0] == 70)


def test_it_catches_every_fake_by_its_distances_and_is_chosen(drawn: Data) -> None:
    extractor, notes = chosen(drawn)
    assert isinstance(extractor, LearnedExtractor)
    check = ControlCheck(extractor, drawn, 200)
    assert {name: check.missed(name) for name in DISTANCES} == dict.fromkeys(DISTANCES, ())
    assert len(notes) == 1 and "without any sample" in notes[0]


def test_where_it_is_blind_the_fakes_choose_another(drawn: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def numb(self: learned_features.FeatureNetwork, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3))[:, None].expand(-1, 96) + 0.0  # shuffled patches have their picture's mean

    monkeypatch.setattr(choose_extractors, "installed_weights", lambda: None)
    monkeypatch.setattr(learned_features.FeatureNetwork, "forward", numb)
    monkeypatch.setattr(learned_features, "train_network", lambda *_: None)
    extractor, notes = chosen(drawn)
    assert extractor.name == "pixels"
    assert "pixels was chosen, as it misses the fewest fakes" in notes[0]


def test_few_pictures_have_their_pixels(drawn: Data) -> None:
    few = dataclasses.replace(drawn, train=Split(drawn.train.rows[:150]), fingerprint="few")
    assert chosen(few)[0].name == "pixels"
    with pytest.raises(UsageError, match="200 training images"):
        chosen(few, "learned")


def test_mnist_keeps_its_digit_classifier(small_mnist: Data) -> None:
    assert chosen(small_mnist)[0].name == "digits"
    padded = np.pad(small_mnist.train.rows[:100], ((0, 0), (2, 2), (2, 2), (0, 0)))
    assert chosen(dataclasses.replace(small_mnist, train=Split(padded)))[0].name == "pixels"  # another size


def test_a_request_to_stop_is_heard(drawn: Data, quick: Path) -> None:
    def stop() -> None:
        raise PreemptedError("stopped")

    with pytest.raises(PreemptedError):
        learned_network(drawn, stop)
    assert not (quick / "extractors").exists()


def test_an_evaluation_says_which_network_and_how_good_it_is(drawn: Data) -> None:
    found = evaluate(drawings(150, 3), drawn, n=150)
    (record,) = found.extractors
    assert (record.name, len(record.sha256), record.dimensions) == ("learned", 64, learned_features.WIDTHS[-1])
    assert any("trained on the 600 training images" in note and "are found among 64" in note for note in found.notes)
    assert found["fid-learned"].graded
