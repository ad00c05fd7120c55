"""Which mistakes in `gendi.diffusion` would the tests not notice?

    python benchmarks/mutation.py trace     which test executes which lines (once; it takes as long as the tests)
    python benchmarks/mutation.py try       try every EVERY-th mutant; a run that was interrupted goes on
    python benchmarks/mutation.py show      print the mutants that survived
    python benchmarks/mutation.py write     the scores, into results/mutation.json and docs/equations.md

A mutant is one small mistake (see mutants.py). It is tried on the tests that execute its lines, the quickest first, up
to BUDGET seconds of them, and counts as noticed if one of them fails or never ends. What runs when a module is imported
(constants, defaults) is left out, because tests/mutation.py changes functions of a process that has imported gendi.
"""

import argparse
import hashlib
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from mutants import Mutant, count, mutants  # noqa: E402
from record import write, write_table  # noqa: E402

from mutation import EXHAUSTED, INVALID, KILLED, SURVIVED, Mutation, read_outcomes, write_plan  # noqa: E402

FOLDER = ROOT / "src" / "gendi" / "diffusion"
TESTS = ("tests/library", "tests/train")
BUDGET = 20.0
SECONDS = 10
"""Processor time of one test after which it counts as endless."""
EQUIVALENT = Path(__file__).parent / "equivalent_mutants.txt"
"""A mutant that computes the same as the original, or changes only speed, has a line here: its name, then why."""


def name_of(file: str, mutant: Mutant) -> str:
    """Return a name that stays the same while other lines of the file change."""
    key = f"{mutant.function}|{mutant.operator}|{mutant.before}|{mutant.after}|{mutant.number}"
    return f"{file}:{mutant.function}:{mutant.operator}:{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def sample(every: int, offsets: list[int], only: str) -> list[tuple[str, Mutant]]:
    """Return (file, mutant) for every `every`-th mutant of each file whose path matches the expression `only`.

    Each offset is another such sample; they come one after another, so that a part of the list is a sample too.
    """
    found: list[tuple[int, str, Mutant]] = []
    for path in sorted(FOLDER.rglob("*.py")):
        file = str(path.relative_to(FOLDER))
        if re.search(only, file):
            start = int(hashlib.sha256(file.encode()).hexdigest(), 16)  # short files count too
            turns = {(start + offset) % every: turn for turn, offset in enumerate(offsets)}
            chosen = mutants(path.read_text(encoding="utf-8"), lambda index, turns=turns: index % every in turns)
            found += [(turns[mutant.index % every], file, mutant) for mutant in chosen if mutant.function]
    return [(file, mutant) for _, file, mutant in sorted(found, key=lambda row: row[0])]


def everything(only: str) -> list[tuple[str, Mutant]]:
    """Return (file, mutant) for every mutant, without its source."""
    files = [path for path in sorted(FOLDER.rglob("*.py")) if re.search(only, str(path.relative_to(FOLDER)))]
    return [
        (str(path.relative_to(FOLDER)), mutant)
        for path in files
        for mutant in mutants(path.read_text(encoding="utf-8"), whole=False)
    ]


def plan(chosen: list[tuple[str, Mutant]], lines: Path, budget: float) -> list[Mutation]:
    """Return each mutant with the tests that execute its lines."""
    tests = sorted(read_outcomes(lines).values(), key=lambda entry: entry["seconds"])
    tests = [entry for entry in tests if entry["outcome"] == SURVIVED]
    reached: dict[str, list[tuple[str, float, set[int]]]] = {}
    for entry in tests:
        for file, numbers in entry["lines"].items():
            reached.setdefault(file, []).append((entry["name"], entry["seconds"], set(numbers)))
    made = []
    for file, mutant in chosen:
        span, spent, names = range(mutant.line, mutant.last_line + 1), 0.0, []
        for name, seconds, numbers in reached.get(file, []):
            if not numbers.isdisjoint(span) and seconds < SECONDS / 4 and spent + seconds <= budget:
                names.append(name)
                spent += seconds
        module = "gendi.diffusion." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        made.append(Mutation(name_of(file, mutant), module, mutant.function, mutant.source, tuple(names), SECONDS))
    return made


def pytest(tests: Iterable[str], *arguments: str) -> None:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutation", "-m", "not slow"]
    subprocess.run([*command, *arguments, *tests], cwd=ROOT, env=environment, check=False)


def equivalent() -> dict[str, str]:
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines() if EQUIVALENT.exists() else []
    found = (re.fullmatch(r"(.+?:[0-9a-f]{10}) (.+)", line) for line in lines if not line.startswith("#"))
    return {match[1]: match[2] for match in found if match}


def score(noticed: int, n: int) -> dict[str, Any]:
    """Return the share that was noticed and its interval of 95% (Wilson)."""
    if not n:
        return {"n": 0}
    z, p = 1.959964, noticed / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    interval = [round((middle - half) / scale, 4), round((middle + half) / scale, 4)]
    return {"n": n, "noticed": noticed, "score": round(p, 4), "interval_95": interval}


def figures(chosen: list[tuple[str, Mutant]], outcomes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    same = equivalent()
    rows = [(file, mutant, outcomes.get(name_of(file, mutant)), name_of(file, mutant)) for file, mutant in chosen]
    rows = [row for row in rows if row[2] is not None and row[2]["outcome"] != INVALID]

    def of(kept: list[Any]) -> dict[str, Any]:
        counted = [row for row in kept if row[3] not in same]
        return score(sum(row[2]["outcome"] in (KILLED, EXHAUSTED) for row in counted), len(counted))

    folders = sorted({file.removeprefix("gaussian/").partition("/")[0] for file, *_ in rows})
    return {
        "mutants": sum(count(path.read_text(encoding="utf-8")) for path in FOLDER.rglob("*.py")),
        "tried": len(rows),
        "equivalent": sum(row[3] in same for row in rows),
        "left": [row[3] for row in rows if row[2]["outcome"] == SURVIVED and row[3] not in same],
        "endless": sum(row[2]["outcome"] == EXHAUSTED for row in rows),
        "all": of(rows),
        "computations": of([row for row in rows if not row[1].refusal]),
        "refusals": of([row for row in rows if row[1].refusal]),
        "by_operator": {
            name: of([row for row in rows if row[1].operator == name])
            for name in sorted({row[1].operator for row in rows})
        },
        "by_part": {
            name: of([row for row in rows if row[0].removeprefix("gaussian/").partition("/")[0] == name])
            for name in folders
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["trace", "try", "show", "write"])
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutation", help="where plans and outcomes lie")
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument(
        "--offset", type=int, nargs="*", default=[0], help="which of the EVERY samples, one after another"
    )
    parser.add_argument("--budget", type=float, default=BUDGET)
    parser.add_argument("--only", default="", help="an expression that the paths of the files match")
    parser.add_argument("--plan-only", action="store_true", help="write plan.json, and try nothing")
    parser.add_argument("--survivors", action="store_true", help="try those that survived before, once more")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    lines, outcomes = options.work / "lines.jsonl", options.work / "outcomes.jsonl"
    if options.what == "trace":
        pytest(TESTS, "--lines-of", str(FOLDER), "--outcomes", str(lines))
        return
    if options.what == "try":
        chosen = sample(options.every, options.offset, options.only)
    else:  # all that were tried, even if the places of the others have changed since
        chosen = everything(options.only)
    if options.what == "try":
        written = options.work / "plan.json"
        made = plan(chosen, lines, options.budget)
        if options.survivors:
            before = read_outcomes(outcomes)
            made = [m for m in made if before.get(m.name, {}).get("outcome") == SURVIVED]
            outcomes = options.work / "again.jsonl"
        write_plan(written, made)
        print(f"{len(made)} mutants, of which no test executes {sum(not m.tests for m in made)}", flush=True)
        if options.plan_only:
            return
        files = sorted({test.partition("::")[0] for mutation in made for test in mutation.tests})
        pytest(files, "--mutations", str(written), "--outcomes", str(outcomes))
        return
    found, later = read_outcomes(outcomes), read_outcomes(options.work / "again.jsonl")
    if options.what == "show":
        same = equivalent()
        for file, mutant in chosen:
            name = name_of(file, mutant)
            if {**found, **later}.get(name, {}).get("outcome") in (SURVIVED, INVALID) and name not in same:
                text = f"{mutant.before[:90]}  ->  {mutant.after[:90]}"
                print(f"{name}\n    {found[name]['outcome']} {file}:{mutant.line} {'refusal ' * mutant.refusal}{text}")
        return
    before, after = figures(chosen, found), figures(chosen, {**found, **later})
    write(
        "mutation",
        {
            "every": options.every,
            "offsets": options.offset,
            "files": options.only or "all",
            "budget_s": options.budget,
            "before": before,
            "after": after,
        },
    )
    rows = [
        "| part | mutants tried | noticed before | noticed after | interval of 95% |",
        "|---|---|---|---|---|",
    ]
    for part in ("all", "computations", "refusals", *sorted(after["by_part"])):
        was, now = ((f.get(part) or f["by_part"][part]) for f in (before, after))
        if now["n"] >= 10:
            low, high = now["interval_95"]
            rows.append(f"| {part} | {now['n']} | {was['score']:.1%} | {now['score']:.1%} | {low:.1%} to {high:.1%} |")
    write_table("equations.md", "mutation", rows)


if __name__ == "__main__":
    main()
