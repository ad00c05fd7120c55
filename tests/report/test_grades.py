"""The page says what is no grade, and why: fakes that pass, shares that are right by construction, earlier figures."""

import dataclasses
import re
from pathlib import Path

import pytest
from fake_run import evaluation, fake_run
from page_reader import PageReader

from gendi.cli.metrics_table import metrics_table
from gendi.evaluate.result import Check, Evaluation, Metric
from gendi.report import write_report
from gendi.report.confusion import asked_in_words, worst_confusions

FAKES = {"noise": 9.0, "blurred": 1.0, "blobs": 8.0, "shuffled": 7.0, "means": 6.0}


def graded(*, told: bool = True) -> Evaluation:
    """Return an evaluation in which precision takes blurred images for real ones, and classes were asked for."""
    plain = evaluation(
        data="drawings", n=80, extractors=["learned"], names=["disc", "bar"], histogram=[37, 43], frequencies=[1, 1]
    )
    checks = {
        "fid-learned": Check(80, 4.0, (None, 2.0), FAKES, ()),
        "kid-learned": Check(80, 0.001, (None, 0.002), FAKES, ()),
        "precision-learned": Check(80, 0.9, (0.8, None), {**FAKES, "blurred": 0.98}, ("blurred",)),
        "nearest-train-ratio": Check(80, 1.03, (0.9, 1.1), {"copies": 0.0}, ()),
    }
    reasons = dict.fromkeys(("class-entropy", "class-chi-square", "class-p-value"), "right by construction")
    metrics = [
        dataclasses.replace(m, check=checks.get(m.name), no_grade=reasons.get(m.name, "") if told else "")
        for m in plain.metrics
    ]
    metrics.append(Metric("asked-seen", 0.85, 0.99, "higher", extractor="learned", interval=(0.76, 0.91)))
    assert plain.classes is not None
    classes = dataclasses.replace(plain.classes, told=told, confusion=((36, 4), (8, 32)))
    return dataclasses.replace(plain, metrics=tuple(metrics), classes=classes)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = fake_run(tmp_path_factory.mktemp("grades") / "run", measured=graded(), bundle=False)
    return write_report(run).read_text()


def rows(page: str) -> dict[str, str]:
    """Return the rows of the tables by their titles."""
    found = re.findall(r"<tr[^>]*><th scope=\"row\">.*?</tr>", page, re.DOTALL)
    return {PageReader(row).text.split(" ↓")[0].split(" ↑")[0].split(" →")[0]: row for row in found}


def test_a_metric_that_takes_a_fake_for_real_is_greyed_out_and_says_so(page: str) -> None:
    table = rows(page)
    assert 'class="nograde"' in table["Precision"] and "takes blurred images for real images" in table["Precision"]
    assert "nograde" not in table["Fréchet distance (FID)"]
    assert "FAIL" in table["Fréchet distance (FID)"] and "≤ 2.00" in table["Fréchet distance (FID)"]
    assert "pass" in table["Kernel distance (KID) × 1000"]
    fid = next(m for m in graded().metrics if m.name == "fid-learned")
    assert fid.value != 4.0  # the row has another value than the check, which is of other samples
    assert "4.00 is not ≤ 2.00" in table["Fréchet distance (FID)"]
    text = PageReader(page).text
    assert "“As real?” says whether 80 samples lie where as many real images would" in text


def test_the_card_of_gates_counts_grades_alone(page: str) -> None:
    """The Fréchet distance fails, the kernel distance and the ratio pass, and precision is no grade."""
    assert re.search(r"Gates passed 2 of 3 Failed: fid-learned", PageReader(page).text)


def test_the_ratio_is_read_from_both_sides(page: str) -> None:
    row = PageReader(rows(page)["Nearest-neighbour ratio"]).text
    assert "0.900 to 1.100" in row and "pass" in row and "blurs" in row


def test_shares_by_construction_and_asked_against_seen_are_told(page: str) -> None:
    text = PageReader(page).text
    assert "right by construction, and no merit of the model" in text
    assert "In 85.0 % (76.0 % to 91.0 %) of the samples the classifier sees the class that was asked for" in text
    assert "on real held-out images it is right in 99.0 % of cases" in text
    assert "disc for bar (20 %), bar for disc (10 %)" in text
    assert 'class="nograde"' in rows(page)["Class p-value"]
    assert "Asked against seen, in percent of the samples asked to be of a class (80 in all)" in text


def test_the_shares_that_the_classifier_sees_in_real_images_are_drawn(tmp_path: Path) -> None:
    found = graded(told=False)
    assert found.classes is not None
    classes = dataclasses.replace(found.classes, expected=(0.6, 0.4), right=0.734, right_interval=(0.71, 0.756))
    run = fake_run(tmp_path / "run", measured=dataclasses.replace(found, classes=classes), bundle=False, draw=False)
    text = PageReader(write_report(run).read_text()).text
    assert "This classifier is right on 73.4 % (71.0 % to 75.6 %) of real held-out images" in text
    assert "Crosses: the shares that it sees in real images" in text


def test_free_samples_are_said_to_be_free(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", measured=graded(told=False), bundle=False, draw=False)
    text = PageReader(write_report(run).read_text()).text
    assert "drawn without a class, so that the model itself chose" in text
    assert "merit of the model" not in text


def test_the_worst_confusions_come_first() -> None:
    found = graded().classes
    assert found is not None
    assert worst_confusions(found) == [("bar", "disc", 8 / 40), ("disc", "bar", 4 / 40)]
    assert asked_in_words(dataclasses.replace(graded(), classes=None)) == []


def test_the_terminal_says_the_same() -> None:
    text = metrics_table(graded())
    (precision,) = (line for line in text.splitlines() if line.strip().startswith("precision-learned"))
    assert "(0.883)" in precision and precision.endswith("no grade")
    assert "no grade: precision-learned takes blurred images for real images" in text
    assert "no grade: class-entropy, class-chi-square, class-p-value: right by construction" in text
    (fid,) = (line for line in text.splitlines() if line.strip().startswith("fid-learned"))
    assert fid.endswith("FAIL")
    assert "whether 80 samples lie where as many real images would" in text
