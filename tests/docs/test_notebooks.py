"""The plain code of the notebooks is the library's, number for number; the notebooks run from end to end."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from gendi.data.toy import world
from gendi.diffusion import GaussianDenoiser, Process, make_schedule
from gendi.diffusion import score as exact_score
from gendi.diffusion.discrete.exact import MarkovDenoiser
from gendi.diffusion.discrete.process import Absorbing
from gendi.diffusion.discrete.schedules import make_token_schedule
from gendi.diffusion.gaussian.guidance.settings import GuidanceRule
from gendi.diffusion.gaussian.likelihood import variational_bound
from gendi.diffusion.gaussian.process import x0_from_eps
from gendi.diffusion.gaussian.samplers import make_grid
from gendi.diffusion.gaussian.samplers.ancestral import ancestral
from gendi.diffusion.gaussian.samplers.ddim import ddim
from gendi.diffusion.gaussian.samplers.dpmpp import dpmpp_2m
from gendi.diffusion.gaussian.sde import ode_velocity, reverse_drift

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


def plain(name: str) -> dict[str, Any]:
    """Return the names that the cells tagged `plain` of a notebook define; nothing else of it runs."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    names: dict[str, Any] = {}
    exec("import itertools\nimport math\nimport numpy as np\nimport torch\nfrom torch import nn", names)
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


# ------------------------------------------------------------------------------------------------ 02_sde


@pytest.fixture(scope="module")
def sde() -> dict[str, Any]:
    return plain("02_sde.py")


class Moons:
    """The exact score of the moons under the linear schedule, as the notebook's functions call it."""

    def __init__(self) -> None:
        self.denoiser = world("moons").denoiser(make_schedule("linear"))

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return exact_score(self.denoiser, x, t.double())


def test_the_rates_and_the_solution_are_those_of_the_schedule(sde: dict[str, Any]) -> None:
    schedule, t = make_schedule("linear"), torch.linspace(0.001, 1, 50, dtype=torch.float64)
    for found, expected in zip(sde["alpha_sigma"](t), schedule(t), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sde["beta"](t), schedule.rates(t)[1], rtol=1e-9, atol=0)


def test_drift_flow_and_loss_are_the_librarys(sde: dict[str, Any]) -> None:
    exact, x = Moons(), torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(sde["reverse_drift"](exact, x, t), reverse_drift(exact.denoiser, x, t))
    torch.testing.assert_close(sde["flow"](exact, x, t), ode_velocity(exact.denoiser, x, t))
    eps = torch.randn(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x_t = Process(make_schedule("linear")).sample(x, t, eps)
    sigma = make_schedule("linear")(t)[1][:, None]
    expected = (sigma * exact(x_t, t) + eps).square().sum(1).mean()
    torch.testing.assert_close(sde["matching_loss"](exact, x, t, eps), expected)


def test_the_density_by_the_flow_is_that_of_a_gaussian(sde: dict[str, Any]) -> None:
    """For N(0, v I) the score at t is -x / (a^2 v + s^2), and the density at time 0.001 is nearly that of the data."""
    variance = 0.5

    def gaussian(x: Tensor, t: Tensor) -> Tensor:
        a, s = sde["alpha_sigma"](t)
        return -x / (a**2 * variance + s**2)[:, None]

    x = torch.tensor([[0.0, 0.0], [0.7, -0.3], [-1.2, 0.4]], dtype=torch.float64)
    a, s = sde["alpha_sigma"](torch.tensor(1e-3, dtype=torch.float64))
    law = torch.distributions.Normal(0.0, float(a**2 * variance + s**2) ** 0.5)
    torch.testing.assert_close(sde["log_density"](gaussian, x, 200), law.log_prob(x).sum(1), rtol=0, atol=1e-3)


# ------------------------------------------------------------------------------------------------ 03, 04


def test_the_two_samplers_are_the_librarys() -> None:
    cells = plain("03_sampling_and_guidance.py")
    denoiser = world("gaussians").denoiser(make_schedule("cosine"))
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = make_grid(denoiser.schedule, 12, "log-snr")
    none = lambda k: torch.zeros_like(x)  # noqa: E731
    for name, sampler in (("ddim", ddim), ("dpmpp_2m", dpmpp_2m)):
        *_, last = sampler(denoiser, x, times, none)
        torch.testing.assert_close(cells[name](denoiser, x, times), last.x, rtol=1e-9, atol=1e-11)


def test_guidance_of_the_third_notebook_is_the_librarys() -> None:
    guided = plain("03_sampling_and_guidance.py")["guided"]
    denoiser = world("moons").denoiser(make_schedule("cosine"))
    x, label, t = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1]), torch.tensor(0.4)
    for w in (0.0, 1.0, 3.0):
        rule = GuidanceRule(scale=w).guide(denoiser, ["class"])
        torch.testing.assert_close(guided(denoiser, x, t, label, w), rule(x, t, **{"class": label}))


def test_the_bound_is_the_librarys_in_a_gaussian_world() -> None:
    """Both are estimates of one number from noises of their own: they agree to five standard errors."""
    chain = make_schedule("linear", 12)
    mean, covariance = torch.tensor([0.3, -0.2]), torch.tensor([[0.5, 0.3], [0.3, 0.4]])
    denoiser = GaussianDenoiser(chain, mean, covariance)
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn(3000, 2, generator=generator, dtype=torch.float64) * 0.7
    noise = torch.randn(12, 3000, 2, generator=generator, dtype=torch.float64)
    prior, steps, decoder = plain("04_likelihood.py")["bound"](denoiser, chain, x_0, noise)
    expected = variational_bound(denoiser, x_0)
    assert len(steps) == 11
    assert float(prior) == pytest.approx(float(expected.prior.nats), abs=1e-6)
    for found, part in ((steps.sum(), expected.kl), (decoder, expected.decoder)):
        assert float(found) == pytest.approx(float(part.nats), abs=5 * 2**0.5 * float(part.error))


# ------------------------------------------------------------------------------------------------ 06, 07, 08


def test_scores_of_a_column_are_normal_and_lead_back() -> None:
    cells, rng = plain("06_tables.py"), np.random.default_rng(0)
    values = np.concatenate([np.zeros(400), rng.exponential(size=600)])
    scores = cells["to_scores"](values, rng.random(1000))
    assert (cells["from_scores"](scores, values) == values).all()
    assert kstest(scores, "norm").pvalue > 1e-3  # with this seed; a tie that is not spread fails by far


def test_a_perfect_student_has_no_disagreement_and_jumps_to_the_data() -> None:
    """For data N(0, I) the curves are circles: from any angle the end is x itself at angle 0, whose law is N(0, I)."""
    cells = plain("07_few_calls.py")
    point = torch.tensor([[0.4, -1.0], [1.2, 0.3]])
    end = lambda x, angle: point  # noqa: E731  every curve ends here
    angle, eps = torch.tensor([1.0, 1.5]), torch.zeros(2, 2)
    loss = cells["consistency_loss"](end, point, eps, angle, 0.1)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    away = cells["consistency_loss"](lambda x, a: x, point, torch.ones(2, 2), angle, 0.1)
    assert float(away) > 0.1
    made = cells["jumps"](end, torch.randn(2, 2), [1.5, 0.8, 0.3])
    torch.testing.assert_close(made, point)
    torch.manual_seed(0)
    student = cells["Student"]()
    torch.testing.assert_close(student(point, torch.zeros(2)), point)  # without noise it changes nothing


def test_masks_are_as_many_as_asked_and_their_loss_is_the_mean_cost() -> None:
    """The cost of each row, letter by letter, by the definition; the masks are the places of the least draws."""
    cells = plain("08_sequences.py")
    generator = torch.Generator().manual_seed(0)
    x, u = torch.randint(4, (7, 9), generator=generator), torch.rand(7, 9, generator=generator)
    n = torch.tensor([1, 2, 3, 5, 7, 8, 9])
    table = torch.randn(5, 4, generator=generator)
    network = lambda seen: table[seen]  # noqa: E731
    seen, hidden = cells["hide"](x, n, u)
    found = cells["any_order_loss"](network, x, n, u)
    for row in range(7):
        least = sorted(range(9), key=lambda i, row=row: float(u[row, i]))[: int(n[row])]
        assert sorted(least) == hidden[row].nonzero()[:, 0].tolist()
        assert all(seen[row, i] == (4 if i in least else x[row, i]) for i in range(9))
        costs = [-float(table[seen[row, i]].log_softmax(0)[x[row, i]]) for i in least]
        assert float(found[row]) == pytest.approx(sum(costs) / len(costs), rel=1e-5)


def test_one_letter_at_a_time_has_the_law_of_the_chain() -> None:
    """Two letters of an exact world in two steps: 8000 draws against all 16 probabilities, to five deviations."""
    cells = plain("08_sequences.py")
    transition = torch.tensor(
        [[0.7, 0.1, 0.1, 0.1], [0, 0, 1, 0], [0.25] * 4, [0.1, 0.1, 0.1, 0.7]], dtype=torch.float64
    )
    exact = MarkovDenoiser(Absorbing(4, make_token_schedule("linear")), torch.full((4,), 0.25).double(), transition)
    laws = lambda x: exact(x, torch.tensor(0.5)).exp()  # noqa: E731
    made = cells["draw"](laws, 8000, 2, 2, torch.Generator().manual_seed(0))
    found = torch.bincount(4 * made[:, 0] + made[:, 1], minlength=16) / 8000
    true = (transition / 4).flatten()
    assert ((found - true).abs() <= 5 * (true * (1 - true) / 8000).sqrt()).all()


# ------------------------------------------------------------------------------------------------ all of them


RUN = [
    pytest.param(path, id=path.stem, marks=[] if path.stem.startswith("01") else [pytest.mark.slow])
    for path in NOTEBOOKS
]


@pytest.mark.parametrize("notebook", RUN)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    """In a process of its own, without the checks of annotations, as a reader runs it."""
    import subprocess

    run = subprocess.run(
        [sys.executable, str(notebook)], cwd=tmp_path, capture_output=True, text=True, env={**_environment()}
    )
    assert run.returncode == 0, run.stderr
    assert (took := re.search(r"took (\d+) s", run.stdout)) and int(took[1]) >= 0


def test_every_notebook_is_on_the_site() -> None:
    index = (FOLDER.parent / "docs" / "index.md").read_text(encoding="utf-8")
    assert [path.stem for path in NOTEBOOKS if f"notebooks/{path.stem}\n" not in index] == []


def _environment() -> dict[str, str]:
    import os

    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": paths}
