"""A pytest plugin that puts mistakes into gendi's functions and reports whether tests notice them.

    python -m pytest -p mutation --mutations plan.json --outcomes outcomes.jsonl tests/library tests/train
    python -m pytest -p mutation --lines-of src/gendi/diffusion --outcomes lines.jsonl tests/library tests/train

with this folder on PYTHONPATH.

The first form tries a plan of mistakes. The second one, which prepares plans, writes which lines of which files below a
folder each test executes, and its processor time; every test runs in a process of its own, so that a fixture or a cache
that several tests share counts for each of them.

The plan is a list of `Mutation`s. Nothing is written into the source: every mutation runs in a fork of a process that
has already imported gendi and collected the tests, and there the code objects of the mutated function are exchanged. A
function keeps its identity, so the mistake reaches every module that has imported the function by name, and every
wrapper around it. One line of JSON per mutation is appended to the outcomes: a run that was interrupted goes on after
the last of them.
"""

import ast
import contextlib
import functools
import gc
import importlib
import json
import math
import os
import resource
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

KILLED, SURVIVED, EXHAUSTED, INVALID = "killed", "survived", "exhausted", "invalid"
"""What can become of a mutation: a test failed, no test failed, the time or memory ran out, it could not be made."""


@dataclass(frozen=True)
class Mutation:
    """A mistake in a function, and the tests that should notice it.

    Attributes:
        name: identifies the mutation in the outcomes.
        module: the module of the function.
        function: the qualified name of the outermost function that is changed; "" changes nothing (a control).
        source: the whole source of the module with the mistake in it.
        tests: node ids, from the root of the project, in the order in which they run; parameters may be left out.
        seconds: processor time of one test after which the mutation counts as noticed, because the test does not end.
    """

    name: str
    module: str
    function: str
    source: str
    tests: tuple[str, ...]
    seconds: int = 60


def write_plan(path: Path, mutations: Sequence[Mutation]) -> None:
    """Write mutations to a file that `--mutations` reads."""
    path.write_text(json.dumps([asdict(mutation) for mutation in mutations]), encoding="utf-8")


def read_outcomes(path: Path) -> dict[str, dict[str, Any]]:
    """Return the outcomes written so far by the names of their mutations: "outcome", "by" (a test) and "seconds"."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {entry["name"]: entry for entry in map(json.loads, lines)}


def raising(source: str, function: str) -> str:
    """Return the source of a module in which `function`, a qualified name, raises whenever it is called."""
    tree = ast.parse(source)
    found = find_function(tree, function)
    found.body.insert(0, ast.parse("raise RuntimeError('this function was mutated')").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def replaced(source: str, function: str, old: str, new: str) -> str:
    """Return the source of a module in which the code `old`, which `function` must contain once, is `new`."""
    tree = ast.parse(source)
    found = find_function(tree, function)
    text = ast.unparse(found)
    if text.count(old) != 1:
        raise ValueError(f"{function} contains {text.count(old)} times, and not once: {old}\n\n{text}")
    found.body = ast.parse(text.replace(old, new)).body[0].body  # type: ignore[attr-defined]
    return ast.unparse(ast.fix_missing_locations(tree))


def find_function(tree: ast.Module, qualified: str) -> ast.FunctionDef:
    """Return the function or method with a qualified name. Raises `LookupError` if there is none."""
    scope: Any = tree
    for part in qualified.split("."):
        inside = [n for n in scope.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == part]
        if not inside:
            raise LookupError(f"no function {qualified}")
        scope = inside[-1]
    if not isinstance(scope, ast.FunctionDef):
        raise LookupError(f"{qualified} is a class and no function")
    return scope


# ----------------------------------------------------------------------------------------------------- the plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutations", help="a plan of mutations")
    parser.addoption("--lines-of", help="a folder of modules")
    parser.addoption("--outcomes", help="the file that outcomes are appended to")


def pytest_collection(session: pytest.Session) -> None:
    """Let hypothesis stop at the first failure that it finds: the smallest one matters to nobody here."""
    from hypothesis import Phase, settings

    gendi = settings.get_profile("gendi")
    settings.register_profile("mutation", gendi, phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False)
    settings.load_profile("mutation")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Try the mutations of the plan, or trace the tests, in place of running the tests."""
    options = session.config.option
    if options.outcomes is None:
        return None
    outcomes = Path(options.outcomes)
    done = read_outcomes(outcomes)
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one folder for all forks
    for name, work in tries(session) if options.lines_of is None else traces(session):
        if name not in done:
            entry = {"name": name, **in_a_fork(work)}
            with outcomes.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
    return True


def tries(session: pytest.Session) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the name of each mutation, and what to do in a fork."""
    plan = json.loads(Path(session.config.option.mutations).read_text(encoding="utf-8"))
    mutations = [Mutation(**{**entry, "tests": tuple(entry["tests"])}) for entry in plan]
    for module in {mutation.module for mutation in mutations}:
        importlib.import_module(module)
    live, items = live_functions(), items_by_id(session)
    gc.freeze()  # the forks' collectors then leave the parent's memory alone, which would have to be copied

    def attempt(mutation: Mutation) -> dict[str, Any]:
        exchange(mutation, live)
        by = first_failure([item for name in mutation.tests for item in items[name]], mutation.seconds)
        return {"outcome": KILLED if by else SURVIVED, "by": by}

    for mutation in mutations:
        yield mutation.name, functools.partial(attempt, mutation)


def traces(session: pytest.Session) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the name of each test, and what traces it."""
    folder = str(Path(session.config.option.lines_of).resolve()) + os.sep

    def attempt(item: pytest.Item) -> dict[str, Any]:
        lines: dict[str, set[int]] = {}

        def line(frame: types.FrameType, event: str, argument: object) -> Callable[..., Any]:
            lines[frame.f_code.co_filename].add(frame.f_lineno)
            return line

        def call(frame: types.FrameType, event: str, argument: object) -> Callable[..., Any] | None:
            if not frame.f_code.co_filename.startswith(folder):
                return None
            lines.setdefault(frame.f_code.co_filename, set()).add(frame.f_lineno)
            return line

        sys.settrace(call)
        failure = first_failure([item], 600)
        sys.settrace(None)
        found = {name.removeprefix(folder): sorted(numbers) for name, numbers in lines.items()}
        return {"outcome": KILLED if failure else SURVIVED, "lines": found}

    for item in session.items:
        yield item.nodeid, functools.partial(attempt, item)


def items_by_id(session: pytest.Session) -> dict[str, list[pytest.Item]]:
    """Return the collected tests by their node ids, and those that differ in parameters by the id without them."""
    found: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        for name in {item.nodeid, item.nodeid.partition("[")[0]}:
            found.setdefault(name, []).append(item)
    return found


def live_functions() -> dict[tuple[str, str], list[types.FunctionType]]:
    """Return the functions of this process by (file, qualified name of their code), those inside wrappers too."""
    found: dict[tuple[str, str], list[types.FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType:
            code = thing.__code__
            found.setdefault((code.co_filename, code.co_qualname), []).append(thing)
    return found


def in_a_fork(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `work` returns in a child process, and the processor time that it took there."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            silence()
            with contextlib.suppress(ValueError):  # an index too large may ask for any amount of memory
                resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))
            outcome = work()
        except BaseException as error:
            outcome = {"outcome": INVALID, "by": repr(error)}
        with open(send, "w", encoding="utf-8") as pipe:  # noqa: PTH123  # it is no path
            json.dump(outcome, pipe)
        os._exit(0)
    os.close(send)
    with open(receive, encoding="utf-8") as pipe:  # noqa: PTH123
        text = pipe.read()
    _, _, usage = os.wait4(child, 0)
    outcome = json.loads(text) if text else {"outcome": EXHAUSTED, "by": None}
    return {**outcome, "seconds": round(usage.ru_utime + usage.ru_stime, 2)}


def silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def exchange(mutation: Mutation, live: dict[tuple[str, str], list[types.FunctionType]]) -> None:
    """Give the mutated function, and those defined inside it, the code of the mutated source."""
    if not mutation.function:
        return
    file = importlib.import_module(mutation.module).__file__
    assert file is not None
    reached = 0
    for code in codes(compile(mutation.source, file, "exec", dont_inherit=True)):
        if code.co_qualname == mutation.function or code.co_qualname.startswith(f"{mutation.function}.<locals>."):
            for function in live.get((file, code.co_qualname), []):
                function.__code__ = code
                reached += 1
    if not reached:
        raise LookupError(f"{mutation.function} of {file} is nowhere in this process")


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from codes(constant)


def first_failure(tests: Sequence[pytest.Item], seconds: int) -> str | None:
    """Run tests until one fails, and return its id; None if all pass.

    A test that takes more than `seconds` of processor time ends this process.
    """
    for test, following in zip(tests, [*tests[1:], None]):
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, most))
        test.config.hook.pytest_runtest_protocol(item=test, nextitem=following)
        if failed:
            return test.nodeid
    return None


failed: list[str] = []
"""The tests that failed in this process."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        failed.append(report.nodeid)
