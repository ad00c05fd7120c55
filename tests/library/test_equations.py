"""The tests on the page of equations prove what the page says: each of them fails when its function is wrong.

For every row of docs/equations.md the named function is replaced, once by one that raises, and once by each of its
wrong formulas (wrong_formulas.py): another factor, another index, another sign. The row's test must fail every time,
and pass when nothing is replaced. All of this happens in forks of one process, which this test starts (see
tests/mutation.py). The first wrong formula of each row is tried by `make test`, and everything by `make test-all`.
"""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_formulas import METHODS, WRONG

from mutation import KILLED, SURVIVED, Mutation, raising, read_outcomes, replaced, write_plan

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "equations.md"
ROW = re.compile(r"^\| .*`gendi\.([\w.]+)` \| `((?:\w+/)+test_\w+\.py::test_\w+)` \|$", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    """Return (function, test) of every row, the function without the package's name."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def located(function: str) -> tuple[str, str, str]:
    """Return the module, the qualified name and the module's source of a function or, of a class, its formula."""
    parts = f"gendi.{function}".split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        module = sys.modules[thing.__module__]
        assert module.__file__ is not None
        name = METHODS.get(function, thing.__qualname__)
        return module.__name__, name, Path(module.__file__).read_text(encoding="utf-8")
    raise LookupError(function)


def plan(chosen: slice) -> list[Mutation]:
    """Return the `chosen` wrong formulas of every row; with the rest of them, also no change and one that raises."""
    made = []
    for function, test in rows():
        module, name, source = located(function)
        tests = (f"tests/{test}",)
        if chosen.start:
            made.append(Mutation(f"{test} passes as it is", module, "", "", tests))
            made.append(Mutation(f"{test} notices that {function} raises", module, name, raising(source, name), tests))
        for old, new in WRONG[function, test.partition("::test_")[2]][chosen]:
            wrong = replaced(source, name, old, new)
            made.append(Mutation(f"{test} notices {function} with {new} for {old}", module, name, wrong, tests))
    return list({mutation.name: mutation for mutation in made}.values())


def test_every_row_has_wrong_formulas() -> None:
    assert {(function, test.partition("::test_")[2]) for function, test in rows()} == set(WRONG)
    assert all(WRONG.values())
    assert len(rows()) == PAGE.read_text(encoding="utf-8").count("::test_") > 40


@pytest.mark.parametrize("chosen", [slice(0, 1), pytest.param(slice(1, None), marks=pytest.mark.slow)], ids=str)
def test_the_test_of_every_equation_notices_a_wrong_formula(tmp_path: Path, chosen: slice) -> None:
    mutations = plan(chosen)
    write_plan(tmp_path / "plan.json", mutations)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    files = sorted({test.partition("::")[0] for mutation in mutations for test in mutation.tests})
    plugin = ["-p", "mutation", "--mutations", str(tmp_path / "plan.json"), "--outcomes", str(tmp_path / "outcomes")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "forks"), *plugin]
    run = subprocess.run([*command, *files], cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    outcomes = read_outcomes(tmp_path / "outcomes")
    assert len(outcomes) == len(mutations), run.stdout + run.stderr
    wanted = {mutation.name: KILLED if mutation.function else SURVIVED for mutation in mutations}
    assert {name: entry for name, entry in outcomes.items() if entry["outcome"] != wanted[name]} == {}


def test_a_mistake_reaches_every_name_of_a_function_and_only_in_the_fork() -> None:
    """`like` is imported by name in twenty modules and wrapped by the checks of annotations."""
    from gendi.diffusion.gaussian import process
    from gendi.diffusion.gaussian.samplers import ddim
    from mutation import exchange, in_a_fork, live_functions

    module, name, source = located("diffusion.gaussian.process.like")
    mutation = Mutation("like", module, name, raising(source, name), ())
    live = live_functions()

    def work() -> dict[str, object]:
        import torch

        exchange(mutation, live)
        for function in (process.like, ddim.like):
            with pytest.raises(RuntimeError, match="mutated"):
                function(torch.ones(()), torch.ones(2))
        return {"outcome": KILLED}

    assert in_a_fork(work)["outcome"] == KILLED
    assert ddim.like is process.like
    located("diffusion.gaussian.process.like")


@pytest.mark.parametrize("old", ["x_0 ** 2", "like(coefficient, x)", "coefficient"])
def test_a_wrong_formula_that_does_not_fit_the_function_any_more_is_an_error(old: str) -> None:
    _, name, source = located("diffusion.gaussian.process.like")
    with pytest.raises(ValueError, match="times, and not once"):
        replaced(source, name, old, "0")
