"""Equations as MathML, which browsers set by themselves: no script, no font and no network is needed.

    maths("x_t = α_t x_0 + σ_t ε")                                words that stand side by side
    maths("x̂_0 =", fraction("x_t − σ_t ε̂", "α_t"))              with a fraction
    maths("x_t =", number(0.87), "x_0")                           with a number

A word is a number, an operator or a variable. `x_t` has an index. A combining circumflex makes a hat, and a combining
tilde a tilde.
"""

from gendi.report.page import Html, fill

ACCENTS = {"\u0302": "^", "\u0303": "~"}
"""Combining characters, and the signs that stand above a variable in their place."""
OPERATORS = frozenset("=+−·≈∼≤<>()[]|∇‖,;:/∣→")


def maths(*parts: str | Html, block: bool = False) -> Html:
    """Return an equation, in a line of its own if `block`; plain strings are read word by word."""
    display = Html(' display="block"') if block else ""
    return fill("<math{display}>{row}</math>", display=display, row=row(*parts))


def row(*parts: str | Html) -> Html:
    """Return parts that stand side by side."""
    return fill("<mrow>{parts}</mrow>", parts=[part if isinstance(part, Html) else _words(part) for part in parts])


def fraction(over: str | Html, under: str | Html) -> Html:
    """Return a fraction."""
    return fill("<mfrac>{over}{under}</mfrac>", over=row(over), under=row(under))


def root(inside: str | Html) -> Html:
    """Return a square root."""
    return fill("<msqrt>{inside}</msqrt>", inside=row(inside))


def squared(base: str | Html) -> Html:
    """Return a square."""
    return fill("<msup>{base}<mn>2</mn></msup>", base=row(base))


def number(value: float, digits: int = 2) -> Html:
    """Return a number with so many digits after the point; a negative one has a true minus sign."""
    text = f"{value:.{digits}f}"
    return fill("<mn>{text}</mn>", text=text.replace("-", "−"))


def _words(text: str) -> Html:
    return fill("{words}", words=[_word(word) for word in text.split()])


def _word(word: str) -> Html:
    base, _, index = word.partition("_")
    if all(character in OPERATORS for character in word):
        return fill("<mo>{word}</mo>", word=word)
    if index:
        return fill("<msub>{base}{index}</msub>", base=_word(base), index=_word(index))
    if base[-1:] in ACCENTS:
        sign = ACCENTS[base[-1]]
        return fill('<mover accent="true">{base}<mo>{sign}</mo></mover>', base=_word(base[:-1]), sign=sign)
    if base.replace(".", "", 1).isdigit():
        return fill("<mn>{base}</mn>", base=base)
    return fill("<mi>{base}</mi>", base=base)
