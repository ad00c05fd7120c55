"""The network: a linear autoencoder is principal component analysis, by scikit-learn; options that cannot be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from latent_world import LINEAR, SMALL
from sklearn.decomposition import PCA

from gendi.diffusion.autoencoder.config import AutoencoderConfig
from gendi.diffusion.autoencoder.network import Autoencoder, squares_of
from gendi.diffusion.networks.roles import inner_matrices, units_of
from gendi.errors import UsageError


def pictures(n: int = 40, side: int = 16) -> torch.Tensor:
    """Pictures whose neighbouring pixels are alike."""
    rough = np.random.default_rng(0).normal(0, 1, (n, 3, side, side)).cumsum(2).cumsum(3)
    return torch.from_numpy(rough / abs(rough).max()).float()


@pytest.mark.parametrize("channels", [1, 3, 10])
def test_a_linear_autoencoder_begins_as_principal_component_analysis(channels: int) -> None:
    x = pictures()
    network = Autoencoder(3, replace(LINEAR, channels=channels))
    network.start_at(squares_of(x, 4))
    flat = squares_of(x, 4).double().numpy()
    known = PCA(channels).fit(flat)
    expected = known.inverse_transform(known.transform(flat))
    with torch.no_grad():
        found = squares_of(network.decode(network.encode(x)), 4).numpy()
        latents = network.encode(x).permute(0, 2, 3, 1).reshape(-1, channels).numpy()
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(latents.mean(0), 0, atol=1e-4) and np.allclose(latents.std(0), 1, atol=1e-3)


def test_no_other_linear_autoencoder_is_better() -> None:
    """Descent from another start ends where principal component analysis is, and never below it."""
    x, config = pictures(), replace(LINEAR, channels=2)
    torch.manual_seed(0)
    best, other = Autoencoder(3, config), Autoencoder(3, config)
    best.start_at(squares_of(x, 4))
    torch.nn.init.normal_(other.project.weight, std=0.1)
    torch.nn.init.normal_(other.unproject.weight, std=0.1)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    for step in range(1500):
        loss = (other.decode(other.encode(x)) - x).square().mean()
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 1500)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        least = float((best.decode(best.encode(x)) - x).square().mean())
    spectrum = np.linalg.eigvalsh(np.cov(squares_of(x, 4).double().numpy().T, bias=True))
    assert least == pytest.approx(spectrum[:-2].sum() / len(spectrum), rel=1e-4)
    assert least * 0.9999 < float(loss.detach()) < least * 1.02


def test_more_channels_than_the_squares_have_directions_are_no_error() -> None:
    flat = torch.ones(2, 3, 8, 8) * torch.tensor([0.1, 0.5])[:, None, None, None]
    network = Autoencoder(3, replace(LINEAR, channels=5))
    network.start_at(squares_of(flat, 4))
    with torch.no_grad():
        assert torch.allclose(network.decode(network.encode(flat)), flat, atol=1e-5)


@pytest.mark.parametrize("regularise", ["noise", "kl"])
@pytest.mark.parametrize("linear", [True, False])
def test_residual_parts_begin_at_zero_so_training_begins_at_the_linear_autoencoder(
    regularise: str, linear: bool
) -> None:
    x, config = pictures(), replace(LINEAR if linear else SMALL, regularise=regularise)
    network, plain = Autoencoder(3, config), Autoencoder(3, LINEAR)
    network.start_at(squares_of(x, 4))
    plain.start_at(squares_of(x, 4))
    with torch.no_grad():
        mean, log_variance = network.posterior(x)
        assert torch.allclose(network.decode(mean), plain.decode(plain.encode(x)), atol=1e-6)
    assert (log_variance is not None) == (regularise == "kl")
    assert log_variance is None or log_variance.shape == mean.shape


def test_muon_takes_the_inner_matrices_alone() -> None:
    network = Autoencoder(3, SMALL)
    inner, names = set(map(id, inner_matrices(network))), dict(network.named_parameters())
    assert id(names["project.weight"]) not in inner and id(names["encoder.0.weight"]) not in inner
    chosen = {name for name, p in names.items() if id(p) in inner}
    assert all("conv" in name or name in ("encoder.2.weight", "decoder.2.weight") for name in chosen)
    assert len(units_of(network)) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channels": 0}, "channels"),
        ({"factor": 16}, "factor = 16"),
        ({"widths": (8, 12)}, "multiple of 8"),
        ({"strength": 3.0}, "strength"),
        ({"equivariance": 1.5}, "equivariance"),
        ({"blocks": 0}, "blocks"),
    ],
)
def test_options_that_cannot_be_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(SMALL, **changes).validate()


def test_options_come_back_from_plain_values_and_strange_ones_are_refused() -> None:
    assert AutoencoderConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(UsageError, match="depth"):
        AutoencoderConfig.from_dict({**SMALL.to_dict(), "depth": 3})


def test_a_size_that_the_factor_does_not_divide_is_refused_with_one_that_it_does() -> None:
    with pytest.raises(UsageError, match="--size 16"):
        SMALL.check_size(18, 18)
