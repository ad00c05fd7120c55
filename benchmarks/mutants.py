"""Small mistakes in Python code, of the kinds that people make in formulas.

Every operator changes one place: another operation (+ for -, / for *), a lost sign, another constant or index (k + 1
for k), another comparison, the other of two quantities that a function has (sigma for alpha, _s for _t), another
function (exp for expm1, sum for mean), a function left out. Text, annotations, assertions and what is raised are left
alone.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
NAMES = {
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "cos": "sin",
    "sin": "cos",
    "tan": "sin",
    "atan": "tan",
    "sum": "mean",
    "mean": "sum",
    "floor": "ceil",
    "ceil": "floor",
    "round": "floor",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "min": "max",
    "max": "min",
    "amin": "amax",
    "amax": "amin",
    "minimum": "maximum",
    "maximum": "minimum",
}
DROPPED = {
    "sqrt",
    "square",
    "abs",
    "exp",
    "log",
    "expm1",
    "log1p",
    "detach",
    "cos",
    "sin",
    "tan",
    "round",
    "clamp",
    "flip",
}


@dataclass(frozen=True)
class Mutant:
    """One mistake. `function` is the outermost function that contains it, or "" for code that runs at import."""

    index: int
    """Its place in the list of all mutants of the module."""
    line: int
    last_line: int
    function: str
    operator: str
    refusal: bool
    """Whether it is in the condition of an `if` that only raises: it changes what is refused, not what is computed."""
    before: str
    after: str
    number: int
    """Which of the places in the function where `before` could become `after`, from 1."""
    source: str = field(repr=False)


def mutants(source: str, chosen: Callable[[int], bool] = lambda index: True, whole: bool = True) -> list[Mutant]:
    """Return the mutants of a module's source whose index, in order of their places, is `chosen`.

    Unless `whole`, their own sources are left empty, which saves most of the time.
    """
    tree = ast.parse(source)
    made: list[Mutant] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for index, (site, operator, replacement) in enumerate(_sites(tree)):
        before, after = ast.unparse(site.node), ast.unparse(replacement)
        key = (site.function, operator, before, after)
        seen[key] += 1
        if chosen(index):
            text = ""
            if whole:
                site.put(replacement)
                text = ast.unparse(ast.fix_missing_locations(tree))
                site.put(site.node)
            made.append(
                Mutant(
                    index,
                    site.node.lineno,
                    site.node.end_lineno or site.node.lineno,
                    site.function,
                    operator,
                    site.refusal,
                    before,
                    after,
                    seen[key],
                    text,
                )
            )
    return made


def count(source: str) -> int:
    return sum(1 for _ in _sites(ast.parse(source)))


@dataclass(frozen=True)
class _Site:
    node: ast.expr
    put: Callable[[ast.AST], None]
    function: str
    names: frozenset[str]
    """The names that the function uses."""
    refusal: bool
    index: bool
    """Whether it is an index or a part of one."""


def _sites(tree: ast.Module) -> Iterator[tuple[_Site, str, ast.expr]]:
    for site in _expressions(tree, "", "", frozenset(), False, False):
        for operator, replacement in _replacements(site):
            yield site, operator, ast.copy_location(replacement, site.node)


def _expressions(
    node: ast.AST, scope: str, function: str, names: frozenset[str], refusal: bool, index: bool
) -> Iterator[_Site]:
    """Yield every expression below `node` that may be changed, in the order of the source."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases", "keywords_of_class"):
            continue
        children = value if isinstance(value, list) else [value]
        for position, child in enumerate(children):
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.Assert | ast.JoinedStr):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue  # a docstring
            inner, outermost, used = scope, function, names
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                inner = f"{scope}.{child.name}" if scope else child.name
                if isinstance(child, ast.FunctionDef):
                    yield from _expressions(child.args, inner, function, names, False, False)  # the defaults
                    if not function:
                        outermost = inner
                        used = frozenset(
                            {n.id for n in ast.walk(child) if isinstance(n, ast.Name)}
                            | {n.arg for n in ast.walk(child) if isinstance(n, ast.arg)}
                        )
            elif isinstance(child, ast.arguments):
                continue
            within = refusal or (
                name == "test" and isinstance(node, ast.If) and all(isinstance(n, ast.Raise) for n in node.body)
            )
            inside = index or (name == "slice" and isinstance(node, ast.Subscript))
            if isinstance(child, ast.expr):
                put = _putter(node, name, position if isinstance(value, list) else None)
                yield _Site(child, put, outermost, used, within, inside)
            yield from _expressions(child, inner, outermost, used, within, inside)


def _putter(parent: ast.AST, name: str, position: int | None) -> Callable[[ast.AST], None]:
    def put(node: ast.AST) -> None:
        if position is None:
            setattr(parent, name, node)
        else:
            getattr(parent, name)[position] = node

    return put


def _replacements(site: _Site) -> Iterator[tuple[str, ast.expr]]:
    match site.node:
        case ast.BinOp(left, operator, right):
            text = any(
                (isinstance(n, ast.Constant) and isinstance(n.value, str)) or isinstance(n, ast.JoinedStr)
                for n in (left, right)
            )
            if type(operator) in BINARY and not text:
                yield "operation", ast.BinOp(left, BINARY[type(operator)](), right)
        case ast.UnaryOp(ast.USub(), operand):
            yield "sign", operand
        case ast.UnaryOp(ast.Not(), operand):
            yield "condition", operand
        case ast.BoolOp(operator, values):
            yield "condition", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.Compare(left, operators, comparators):
            for k, operator in enumerate(operators):
                for other in COMPARISONS[type(operator)]:
                    yield "comparison", ast.Compare(left, [*operators[:k], other(), *operators[k + 1 :]], comparators)
        case ast.Constant(bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int() as value):
            yield "index" if site.index else "constant", ast.Constant(value + 1)
        case ast.Constant(float() as value):
            yield "constant", ast.Constant(value * 1.25 if value else 0.25)
        case ast.IfExp(test, body, orelse):
            if isinstance(test, ast.Name | ast.Attribute | ast.Call):
                yield "condition", ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Name(name, ast.Load()):
            for other in _others(name):
                if other in site.names:
                    yield "quantity", ast.Name(other, ast.Load())
        case ast.Call(ast.Attribute(value, name, _), args, keywords):
            if name in NAMES:
                yield "function", ast.Call(ast.Attribute(value, NAMES[name], ast.Load()), args, keywords)
            if name in DROPPED:
                of_module = isinstance(value, ast.Name) and value.id in ("torch", "math", "np")
                yield "left out", args[0] if of_module else value
        case ast.Call(ast.Name(name), args, keywords) if name in NAMES:
            yield "function", ast.Call(ast.Name(NAMES[name], ast.Load()), args, keywords)


def _others(name: str) -> Iterator[str]:
    """Yield the names of the quantities that `name` is easily taken for."""
    for one, other in (("alpha", "sigma"), ("low", "high"), ("first", "last"), ("left", "right"), ("before", "after")):
        if one in name:
            yield name.replace(one, other)
        elif other in name:
            yield name.replace(other, one)
    for one, other in (("_t", "_s"), ("_0", "_t"), ("_0", "_1")):
        if name.endswith(one):
            yield name.removesuffix(one) + other
        elif name.endswith(other):
            yield name.removesuffix(other) + one
    pairs = {"t": "s", "s": "t", "x": "x_0", "a": "b", "b": "a", "eps": "x_0"}
    if name in pairs:
        yield pairs[name]
