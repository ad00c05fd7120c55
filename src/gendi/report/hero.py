"""The top of the page: a title, a strip of samples, and the key figures as cards."""

from collections.abc import Sequence

from gendi.data.codec import Codec
from gendi.data.images.latents import pictures_of
from gendi.data.kinds import kind_of
from gendi.evaluate.result import GENDI_REPORT
from gendi.machine.units import duration_in_words
from gendi.report.metrics import best_fid, split_name, written
from gendi.report.page import Gallery, Html, fill
from gendi.report.run import Run
from gendi.report.tiles import grid

STRIP = 24
NAMES = {
    "digits": "digit features",
    "inception": "Inception features",
    "learned": "features learned from these data",
    "pixels": "pixels",
}


def hero(run: Run, gallery: Gallery) -> Html:
    """Return the header, which shows the first samples in their order, and the cards below it."""
    strip = Html("")
    if run.samples is not None and len(run.samples):
        n = min(STRIP, len(run.samples))
        picture = gallery.image("strip", grid(run.samples[:n], n, side=96, gap=6), f"The first {n} samples")
        strip = fill('<div class="strip">{picture}</div>', picture=picture)
    return fill(
        '<div class="hero"><div class="hero-text"><p class="kind">gendi · a denoising diffusion model</p>'
        '<h1>{name}</h1><p class="lead">{lead}</p></div>{strip}</div>\n<div class="cards">{cards}</div>',
        name=run.name,
        lead=_summary(run),
        strip=strip,
        cards=[
            card for card in (_fid(run), _confidence(run), _gates(run), _training(run), _speed(run), _size(run)) if card
        ],
    )


def _rows(codec: Codec) -> str:
    kind = kind_of(codec.kind)
    if not kind.pictures:
        return kind.noun
    pixels = pictures_of(codec)
    channels, height, width = codec.shape if pixels is None else pixels.shape
    colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    return f"{colour} images of {height} × {width} pixels"


def _summary(run: Run) -> str:
    parts = [f"Trained on {run.data_name}"]
    codec = run.bundle.codec if run.bundle else run.data.codec if run.data else None
    if codec is not None:
        count = f"{len(run.data.train):,} " if run.data else ""
        parts.append(f", {count}{_rows(codec)}")
    if (seconds := run.number("seconds")) is not None:
        parts.append(f", in {duration_in_words(seconds)}")
    parts.append(".")
    if run.moment is not None:
        parts.append(f" The training is not finished: {run.moment}")
    elif (status := run.status.get("status")) not in (None, "finished"):
        parts.append(f" The training is not finished: its status is “{status}”.")
    if run.samples is not None:
        parts.append(" The first samples that it drew are shown here; none was picked.")
    return "".join(parts)


def card(title: str, value: object, *lines: object, wide: bool = False) -> Html:
    """Return a card: a title, a large value, and lines below it."""
    return fill(
        '<div class="card{wide}"><h3>{title}</h3><div class="value">{value}</div>{lines}</div>',
        wide=" wide" if wide else "",
        title=title,
        value=value,
        lines=[line if isinstance(line, Html) else fill("<p>{line}</p>", line=line) for line in lines],
    )


def unit(number: str, name: str) -> Html:
    """Return a number with its unit, which is smaller."""
    return fill("{number}<small>{name}</small>", number=number, name=name)


def _scale(low: float, high: float, marks: Sequence[tuple[str, float | None]]) -> Html:
    """Return dots on a line from `low` to `high`; marks are (kind, value), and the last one is drawn on top."""
    dots = [
        fill(
            '<i class="{kind}" style="left:{at}%"></i>',
            kind=kind,
            at=f"{100 * min(max((value - low) / (high - low), 0), 1):.1f}",
        )
        for kind, value in marks
        if value is not None
    ]
    return fill('<div class="scale" aria-hidden="true">{dots}</div>', dots=dots)


def _legend(entries: Sequence[tuple[str, str, str | None]]) -> Html:
    return fill(
        '<div><p class="legend">{entries}</p></div>',
        entries=[
            fill('<span><i class="dot {kind}"></i>{name} {value}</span> ', kind=kind, name=name, value=value)
            for kind, name, value in entries
            if value is not None
        ],
    )


def _fid(run: Run) -> Html | None:
    metric = best_fid(run.evaluation) if run.evaluation is not None else None
    if run.evaluation is None or metric is None or metric.value is None:
        return None
    features = split_name(metric)[1]
    theirs = GENDI_REPORT["fid-inception"] if features == "inception" and run.evaluation.data == "mnist" else None
    top = 1.15 * max(v for v in (metric.value, metric.floor, theirs, 1e-9) if v is not None)
    lines: list[object] = [
        _scale(0, top, [("theirs", theirs), ("floor", metric.floor), ("ours", metric.value)]),
        _legend(
            [
                ("ours", "samples", ""),
                ("floor", "floor", None if metric.floor is None else written(metric.floor, ".2f")),
                ("theirs", "GENDI report", None if theirs is None else written(theirs, ".2f")),
            ]
        ),
    ]
    if not metric.graded:
        lines.append("No grade: on these data, this distance takes fakes for real images.")
    if theirs is None and run.evaluation.data == "mnist":
        other = GENDI_REPORT["fid-inception"]
        lines.append(f"The GENDI report's {other:.2f} is on Inception features, which is another scale.")
    return card(f"FID on {NAMES.get(features, features)}", written(metric.value, ".2f"), *lines, wide=True)


def _confidence(run: Run) -> Html | None:
    found = [m for m in run.evaluation.metrics if m.name == "confidence"] if run.evaluation is not None else []
    if run.evaluation is None or not found or found[0].value is None:
        return None
    metric = found[0]
    value = found[0].value
    theirs = GENDI_REPORT["confidence"] if run.evaluation.data == "mnist" else None
    low = min(0.9, *(v - 0.02 for v in (value, metric.floor, theirs) if v is not None))
    return card(
        "Classifier confidence",
        unit(f"{100 * value:.2f}", "%"),
        _scale(low, 1, [("theirs", theirs), ("floor", metric.floor), ("ours", value)]),
        _legend(
            [
                ("ours", "samples", ""),
                ("floor", "real", None if metric.floor is None else written(metric.floor, ".2%")),
                ("theirs", "GENDI report", None if theirs is None else written(theirs, ".2%")),
            ]
        ),
        wide=True,
    )


def _gates(run: Run) -> Html | None:
    metrics = run.evaluation.metrics if run.evaluation is not None else ()
    judged = {m.name: m.as_real == "pass" for m in metrics if m.as_real in ("pass", "FAIL")}
    if not judged:
        return None
    failed = [name for name, passes in judged.items() if not passes]
    if failed:
        more = " …" if len(failed) > 4 else ""
        note = f"Failed: {', '.join(failed[:4])}{more}"
    else:
        note = f"Real {run.noun} would pass them too, except by chance."
    return card("Gates passed", unit(f"{len(judged) - len(failed)}", f"of {len(judged)}"), note)


def _training(run: Run) -> Html | None:
    seconds, images, step = (run.number(name) for name in ("seconds", "images", "step"))
    if seconds is None:
        return None
    seen = f"{images:,.0f} {run.noun} in {step:,.0f} steps" if images is not None and step is not None else ""
    value = unit(f"{seconds / 60:.1f}", "min") if seconds < 5970 else unit(f"{seconds / 3600:.1f}", "h")
    return card("Training", value, seen)


def _speed(run: Run) -> Html | None:
    rates = [line["images_per_second"] for line in run.speeds if line.get("images_per_second")]
    seconds, images = run.number("seconds"), run.number("images")
    rate = images / seconds if images and seconds else rates[-1] if rates else None
    if rate is None:
        return None
    drawing = run.timings.get("sample_seconds")
    note = "during training, on average"
    if isinstance(drawing, int | float) and run.samples is not None:
        note = f"{len(run.samples):,} samples took {duration_in_words(drawing)}"
    return card("Speed", unit(f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}", f"{run.noun}/s"), note)


def _size(run: Run) -> Html | None:
    if run.bundle is None:
        return None
    count = sum(tensor.numel() for tensor in run.bundle.state.values())
    number = unit(f"{count / 1e6:.2f}", "million") if count >= 1e5 else unit(f"{count:,}", "")
    return card("Parameters", number, f"{run.config.preset} preset" if run.config else "")
