"""The plain code of the notebooks is the library's, number for number; the notebooks run from end to end."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendi.diffusion import Process, make_schedule
from gendi.diffusion.gaussian.process import x0_from_eps
from gendi.diffusion.gaussian.samplers.ancestral import ancestral

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


def plain(name: str) -> dict[str, Any]:
    """Return the names that the cells tagged `plain` of a notebook define; nothing else of it runs."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    names: dict[str, Any] = {}
    exec("import math\nimport torch\nfrom torch import nn", names)
    for cell in cells:
        if cell.startswith(' tags=["plain"]'):
            exec(compile(cell.partition("\n")[2], name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def basics() -> dict[str, Any]:
    return plain("01_ddpm_basics.py")


def test_the_tables_are_those_of_the_schedule(basics: dict[str, Any]) -> None:
    chain = make_schedule("linear", basics["T"])
    torch.testing.assert_close(basics["betas"], chain.betas, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(basics["alphas"], chain.alphas, rtol=1e-12, atol=0)
    torch.testing.assert_close(basics["abar"][1:], chain.alpha_bar, rtol=1e-10, atol=0)
    assert basics["abar"][0] == 1


def test_noise_is_added_as_the_process_adds_it(basics: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(5, 1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    step = torch.tensor([1, 2, 50, 199, 200])
    expected = Process(make_schedule("linear", 200)).sample(x_0, step.double() / 200, noise)
    torch.testing.assert_close(basics["destroy"](x_0, step, noise), expected)
    network = lambda x, step: x / 2  # noqa: E731
    torch.testing.assert_close(basics["loss"](network, x_0, step, noise), (noise - expected / 2).square().mean())


def test_repairing_is_ancestral_sampling(basics: dict[str, Any]) -> None:
    """All 200 steps from the same start with the same noises, for a network that is not even nearly right."""
    chain, generator = make_schedule("linear", 200), torch.Generator().manual_seed(1)
    network = lambda x, step: torch.tanh(x) + 0.1 * step.double()[:, None] / 200  # noqa: E731
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    noises = torch.randn(200, 4, 3, generator=generator, dtype=torch.float64)

    class Denoiser:
        schedule = chain

        def __call__(self, x_t: Tensor, t: Tensor, /, **_: Any) -> Tensor:
            return x0_from_eps(x_t, network(x_t, (t * 200).round().expand(len(x_t))), *chain(t))

    *_, last = ancestral(Denoiser(), x, chain.grid().flip(0), lambda k: noises[k])
    for k, step in enumerate(range(200, 0, -1)):
        x = basics["repair"](network(x, torch.full((4,), step)), x, step, noises[k])
    torch.testing.assert_close(x, last.x, rtol=1e-7, atol=1e-9)


def test_guidance_is_the_librarys(basics: dict[str, Any]) -> None:
    """w = 1 is the conditional prediction, w = 0 the unconditional one, and it is linear in w."""
    label = torch.tensor([0, 1, 2])
    network = lambda x, step, label: x * (label[:, None] + 1.0)  # noqa: E731
    x, step = torch.arange(6.0).reshape(3, 2), torch.ones(3)
    at = {w: basics["guided"](network, label, 9, w)(x, step) for w in (0.0, 1.0, 3.0)}
    torch.testing.assert_close(at[1.0], network(x, step, label))
    torch.testing.assert_close(at[0.0], 10 * x)
    torch.testing.assert_close(at[3.0], at[0.0] + 3 * (at[1.0] - at[0.0]))


def test_networks_know_the_step_and_keep_the_shape(basics: dict[str, Any]) -> None:
    torch.manual_seed(0)
    picture, points = torch.randn(2, 1, 14, 14), torch.randn(2, 2)
    early, late = torch.tensor([3, 3]), torch.tensor([150, 150])
    for network, x in ((basics["UNet"](), picture), (basics["Perceptron"](2), points)):
        assert network(x, early).shape == x.shape
        assert not torch.allclose(network(x, early), network(x, late))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, without the checks of annotations, as a reader runs it."""
    import subprocess

    run = subprocess.run(
        [sys.executable, str(notebook)], cwd=tmp_path, capture_output=True, text=True, env={**_environment()}
    )
    assert run.returncode == 0, run.stderr
    assert (took := re.search(r"took (\d+) s", run.stdout)) and int(took[1]) >= 0


def _environment() -> dict[str, str]:
    import os

    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": paths}
