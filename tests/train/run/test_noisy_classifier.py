"""The classifier of noisy pictures: that it learns, that it is saved whole, that it leads samples."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import gendi
from gendi import Guidance
from gendi.data import open_data
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.exact import ConditionalMixture
from gendi.diffusion.gaussian.guidance import ClassifierGuidance
from gendi.diffusion.gaussian.guidance.noisy_classifier import TIME_DIM, Block, ClassifierNetwork, NoisyClassifier
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import BundleError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle
from gendi.train.kept.classifier_bundle import load_classifier, save_classifier
from gendi.train.run.classifier import train_classifier
from gendi.train.weights.model import network_of

SHORT = {"widths": (8, 16), "batch_size": 64, "lr": 3e-3}


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> gendi.data.Data:
    """Pictures 8 x 8 of two classes: bright on the left, bright on the right."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    images = rng.integers(0, 60, (200, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 190
    path = tmp_path_factory.mktemp("data") / "stripes.npz"
    np.savez(path, images=images, labels=labels)
    return open_data(str(path))


def model(data: gendi.data.Data, classes: bool = False) -> Bundle:
    """Return an untrained model of such pictures."""
    network = NetworkConfig(channels=(8,), groups=4, time_dim=16)
    told = data.conditions if classes else ()
    config = RunConfig(network=network, conditions=told)
    torch.manual_seed(0)
    return Bundle(config, data.codec, network_of(config, data.codec.shape).state_dict(), sigma_data=0.9)


def test_it_learns_more_the_less_noise_there_is_and_the_same_again(stripes: gendi.data.Data) -> None:
    """Halves that differ by 1.5 in 32 pixels each are far apart at sigma / alpha = 1 and hidden at 10 (3.4 sigma)."""
    first, again = (train_classifier(model(stripes), stripes, Budget(steps=40), **SHORT) for _ in range(2))
    found = first.meta["accuracy"]
    assert found["0.1"] == found["1"] == 1.0
    assert first.meta["steps"] == 40 and first.meta["images"] == 40 * 64
    assert all(torch.equal(first.state[name], again.state[name]) for name in first.state)


def test_it_leads_an_unconditional_model_to_the_class(stripes: gendi.data.Data, tmp_path: Path) -> None:
    """The exact denoiser of the stripes, one Gaussian for each class, led by the trained network."""
    judge = train_classifier(model(stripes), stripes, Budget(steps=60), **SHORT)
    judge = load_classifier(save_classifier(tmp_path / "judge", judge))
    means = torch.stack(
        [
            (stripes.codec.encode(torch.from_numpy(stripes.train.rows[stripes.train.labels == c]))).mean(0).flatten()
            for c in (0, 1)
        ]
    ).double()
    schedule = make_schedule("cosine")
    spread = 0.02 * torch.eye(64, dtype=torch.float64).expand(2, 64, 64)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    exact = ConditionalMixture(schedule, half, means, spread, {"class": torch.arange(2)})
    network = judge.classifier(schedule)
    labels = torch.arange(40) % 2

    def flat(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return network(x_t.reshape(-1, 1, 8, 8), t)

    x = gendi.diffusion.gaussian.samplers.sample(
        ClassifierGuidance(exact, flat, 2.0), (64,), 40, steps=20, sampler="ddim", cond={"class": labels}
    )
    nearest = torch.cdist(x.double(), means).argmin(1)
    unled = gendi.diffusion.gaussian.samplers.sample(exact, (64,), 40, steps=20, sampler="ddim", cond={})
    assert int((torch.cdist(unled.double(), means).argmin(1) == labels).sum()) < 33  # 20 +- 3.2: 4 deviations
    assert int((nearest == labels).sum()) >= 39


def test_what_it_adds_is_bounded_at_every_noise_level() -> None:
    """sigma^2 / alpha |grad_x log p| = s^2 sigma^2 / (alpha^2 s^2 + sigma^2) |grad_u log p| <= s^2 |grad_u log p|."""
    torch.manual_seed(0)
    network, schedule, s = ClassifierNetwork(1, 3, (8, 16)), make_schedule("cosine"), 0.9
    classifier = NoisyClassifier(network, schedule, s)
    x_t = torch.randn(4, 1, 8, 8)
    for t in (torch.tensor(0.01), torch.tensor(0.5), torch.tensor(1.0)):
        alpha, sigma = schedule(t)
        x = x_t.clone().requires_grad_()
        (by_x,) = torch.autograd.grad(classifier(x, t).log_softmax(1)[:, 0].sum(), x)
        u = (alpha * s**2 / (alpha**2 * s**2 + sigma**2) * x_t).float().requires_grad_()
        level = ((sigma / alpha).log() / 4).float().expand(4)
        (by_u,) = torch.autograd.grad(network(u, level).log_softmax(1)[:, 0].sum(), u)
        step = sigma**2 / alpha * by_x
        torch.testing.assert_close(step, s**2 * sigma**2 / (alpha**2 * s**2 + sigma**2) * by_u, check_dtype=False)
        assert bool((step.flatten(1).norm(dim=1) <= s**2 * by_u.flatten(1).norm(dim=1) * (1 + 1e-5)).all())


def test_each_level_after_the_first_halves_height_and_width() -> None:
    network, h = ClassifierNetwork(1, 3, (8, 16, 16)), torch.randn(2, 8, 16, 16)
    sizes = []
    for block in network.blocks:
        h = block(h, torch.zeros(2, TIME_DIM))
        sizes.append(tuple(h.shape[1:]))
    assert sizes == [(8, 16, 16), (16, 8, 8), (16, 4, 4)]


def test_the_time_scales_what_is_normalised_by_one_plus_its_share() -> None:
    """FiLM is (1 + scale) h + shift, so the scale -1 leaves of a block what the shift and the skip say.

    [Perez et al. 2018, whose gamma is 1 + scale]
    """
    block, x = Block(8, 8, 1), torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        block.film.weight.zero_()
        block.film.bias.copy_(torch.cat([torch.full((8,), -1.0), torch.linspace(-2, 2, 8)]))
    shift = torch.nn.functional.silu(torch.linspace(-2, 2, 8))[:, None, None].expand(2, 8, 4, 4)
    torch.testing.assert_close(block(x, torch.randn(2, TIME_DIM)), block.skip(x) + block.conv2(shift))


def test_it_is_the_same_classifier_under_any_schedule() -> None:
    """It sees x_t / alpha and the signal-to-noise ratio: a preserving and an exploding path agree where that does."""
    torch.manual_seed(0)
    network = ClassifierNetwork(1, 3, (8,))
    there = [make_schedule("cosine"), make_schedule("variance-exploding")]
    x_0, eps = torch.randn(2, 5, 1, 8, 8)
    logits = []
    for schedule in there:
        t = schedule.time(torch.tensor(0.7, dtype=torch.float64))
        logits.append(NoisyClassifier(network, schedule, 0.9)(Process(schedule).sample(x_0, t, eps), t))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_a_folder_that_was_edited_or_is_something_else_is_refused(stripes: gendi.data.Data, tmp_path: Path) -> None:
    judge = train_classifier(model(stripes), stripes, Budget(steps=1), **SHORT)
    folder = save_classifier(tmp_path / "judge", judge)
    again = load_classifier(folder)
    assert dataclasses.replace(again, state={}, meta={}) == dataclasses.replace(judge, state={}, meta={})
    assert all(torch.equal(again.state[name], judge.state[name]) for name in judge.state)
    save_classifier(folder, judge)  # in the place of the first
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "classes": 3}))
    with pytest.raises(BundleError, match=r"config\.json"):
        load_classifier(folder)
    for path, said in ((tmp_path / "nowhere", "train-classifier"), (tmp_path, "train-classifier")):
        with pytest.raises(UsageError, match=said):
            load_classifier(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="no classifier"):
        load_classifier(tmp_path / "other")
    with pytest.raises(UsageError, match="something else"):
        save_classifier(tmp_path / "other", judge)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", 0),
        ("classes", True),
        ("class_names", ["0"]),
        ("class_names", 3),
        ("widths", []),
        ("widths", [7]),
        ("sigma_data", -1.0),
        ("meta", 0),
        ("codec", {"kind": "image"}),
        ("format", 9),
        ("more", 1),
    ],
)
def test_every_field_is_checked(stripes: gendi.data.Data, tmp_path: Path, field: str, value: object) -> None:
    from gendi.storage.files import write_manifest

    folder = save_classifier(tmp_path / "j", train_classifier(model(stripes), stripes, Budget(steps=1), **SHORT))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    (folder / "MANIFEST.json").unlink()
    write_manifest(folder)
    with pytest.raises(BundleError, match=field.replace("codec", "codec|height")):
        load_classifier(folder)


def test_what_cannot_be_trained_is_refused(stripes: gendi.data.Data, tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", images=stripes.train.rows[..., 0])
    bare = open_data(str(tmp_path / "bare.npz"))
    with pytest.raises(UsageError, match="no classes"):
        train_classifier(model(stripes), bare, Budget(steps=1))
    with pytest.raises(UsageError, match="16 x 16"):
        train_classifier(model(stripes), open_data(stripes.spec, size=16), Budget(steps=1))
    named = dataclasses.replace(
        model(stripes), config=RunConfig(conditions=(ConditionConfig("class", size=2, names=("cat", "dog")),))
    )
    with pytest.raises(UsageError, match="the model others"):
        train_classifier(named, stripes, Budget(steps=1))
    for wrong in ({"widths": (7,)}, {"widths": ()}, {"lr": 0.0}, {"batch_size": 0}):
        with pytest.raises(UsageError, match="widths|lr ="):
            train_classifier(model(stripes), stripes, Budget(steps=1), **wrong)


@pytest.mark.parametrize("classes", [False, True])
def test_gendi_sample_takes_it(stripes: gendi.data.Data, tmp_path: Path, classes: bool) -> None:
    """With and without classes of the model's own; its pictures change with the scale and with the class."""
    bundle = model(stripes, classes)
    judge = train_classifier(bundle, stripes, Budget(steps=10), **SHORT)
    folder = str(save_classifier(tmp_path / "judge", judge))
    about = {"steps": 4, "seed": 1}
    drawn = [
        gendi.sample(bundle, 4, condition={"class": label}, guidance=Guidance(w, classifier=folder), **about)
        for w, label in ((0.0, 0), (5.0, 0), (5.0, 1))
    ]
    plain = gendi.sample(bundle, 4, condition={"class": None} if classes else None, **about)
    np.testing.assert_array_equal(drawn[0], plain)
    assert (drawn[1] != plain).any() and (drawn[1] != drawn[2]).any()
    with pytest.raises(UsageError, match="rescale"):
        gendi.sample(bundle, 4, guidance=Guidance(2.0, classifier=folder, rescale=0.5), **about)
    inside = Guidance(5.0, classifier=folder, interval=(0.5, 2.0))
    assert (gendi.sample(bundle, 4, condition={"class": 0}, guidance=inside, **about) != drawn[1]).any()
