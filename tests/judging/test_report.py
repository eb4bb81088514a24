"""The report: what the terminal shows, what metrics.json holds, and a page that is whole, harmless and quick."""

import json
import re
import time
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from headwise.judging import classification
from headwise.judging.calibration import Calibrated, calibration
from headwise.judging.intervals import intervals
from headwise.judging.metrics import score
from headwise.judging.plots import axes, svg
from headwise.judging.report import Report, Verdict, as_html, as_text, cautions, headline
from headwise.judging.sections import Column, Findings, Plot, Table

HOSTILE = "<script>alert('label')</script> $x_1$ \\frac $"

pytestmark = pytest.mark.filterwarnings("error")


def told(labels, truth, probabilities, answers, texts=None, **more) -> Report:
    """The report of a classification, the last of the answers that of the model."""
    texts = texts or [f"text {row}" for row in range(len(truth))]
    verdicts = tuple(
        Verdict(name, score(truth, answer, labels), 75.0, intervals(truth, answer, len(labels)))
        for name, answer in answers.items()
    )
    predicted = list(answers.values())[-1]
    calibrated = Calibrated(1.5, *[calibration(probabilities, truth)] * 2)
    parts = {
        "title": "text-classification: 评论.csv",
        "facts": (("model", "minilm"), ("rows", f"{len(truth)}")),
        "notes": ("2 rows without a label were left out",),
        "metrics": classification.metrics(truth.ndim == 2, "accuracy"),
        "metric": "accuracy",
        "verdicts": verdicts,
        "history": (),
        "findings": classification.findings(
            labels, truth, probabilities, predicted, texts, verdicts[-1].scores, calibrated
        ),
        "breakdown": tuple(
            (name, classification.as_text(labels, truth, answer)) for name, answer in list(answers.items())[-2:]
        ),
    }
    return Report(**(parts | more))


def made_up(classes=3, rows=60, sets=False, labels=None, texts=None) -> Report:
    """A report of a model that is right nine times of ten, eight times before (for sets: by cell, not by row)."""
    random = np.random.default_rng(0)
    labels = tuple(labels or (f"class {number}" for number in range(classes)))
    if sets:
        truth = random.integers(0, 2, (rows, classes))
        chance = random.random(truth.shape)
        before, predicted = (np.where(chance < share, 1 - truth, truth) for share in (0.2, 0.1))
        probabilities = np.where(predicted == 1, 0.9, 0.2)
    else:
        truth = np.arange(rows) % classes
        before, predicted = (np.where(np.arange(rows) % n == 0, (truth + 1) % classes, truth) for n in (5, 10))
        probabilities = np.full((rows, classes), 0.01)
        probabilities[np.arange(rows), predicted] = np.linspace(0.5, 0.9, rows)
    answers = {
        "majority class": np.zeros_like(truth),
        "MiniLM before fine-tuning (frozen)": before,
        "after fine-tuning": predicted,
    }
    train = tuple({"step": step, "loss": 1 / step, "learning_rate": 1e-4} for step in range(1, 41))
    valid = tuple({"step": step, "valid_loss": 1.2 / step, "valid_macro_f1": 0.8} for step in (20, 40))
    return told(labels, truth, probabilities, answers, texts, history=train + valid)


class Page(HTMLParser):
    """The elements, attributes and words of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.words += data


def test_headline():
    report = made_up()
    assert headline(report) == (
        f"accuracy 0.900 ({report.verdicts[-1].intervals['accuracy']}) on 60 test rows; "
        "MiniLM before fine-tuning 0.800; majority class 0.333"
    )
    assert headline(replace(report, metric="macro_f1", split="validation")).startswith("macro F1 0.900 (0.8")


def test_a_baseline_that_was_not_beaten_is_named():
    report = made_up()
    assert cautions(report) == []
    first, second, last = report.verdicts
    turned = replace(report, verdicts=(first, last, second))
    assert cautions(turned) == ["Fine-tuning did not beat this baseline: after fine-tuning."]
    assert cautions(turned)[0] in as_text(turned)
    assert cautions(turned)[0] in as_html(turned)


def test_text_compares_and_goes_class_by_class():
    lines = as_text(made_up()).split("\n")
    assert lines[0] == "text-classification: 评论.csv"
    assert lines[4] == "   accuracy     macro F1  weighted F1          time"
    assert re.fullmatch(r" +0\.333 +0\.167 +0\.167 +1 min 15 s  majority class", lines[5])
    assert sum("precision" in line for line in lines) == 2  # before and after
    assert sum(line.strip().startswith("class 1") for line in lines) == 2


def test_text_of_many_classes_shows_the_ten_worst():
    text = as_text(made_up(77, 770))
    after = text[text.rindex("precision") :]
    assert sum(line.strip().startswith("class ") for line in after.split("\n")) == 10
    assert "macro avg" in after
    assert "10 of 77 classes with the lowest F1; all of them are in metrics.json" in after


def test_text_of_sets_has_micro_f1_and_a_line_break_in_a_label_does_no_harm():
    text = as_text(made_up(sets=True, labels=["a\nb", "c\x1b[31m", "d"]))
    assert "micro F1" in text
    assert "a b" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("sets", [False, True])
def test_metrics_are_json_without_texts(sets):
    report = made_up(sets=sets)
    report = replace(report, history=(*report.history, {"step": 41, "loss": float("nan")}))
    written = json.dumps(report.as_dict(), allow_nan=False)
    numbers = json.loads(written)
    assert np.shape(numbers["confusion_matrix"]) == ((3, 2, 2) if sets else (3, 3))
    assert numbers["verdicts"][-1]["accuracy"] == report.verdicts[-1].scores.accuracy
    assert numbers["history"][-1] == {"step": 41, "loss": None}
    assert "text 1" not in written
    assert "confusion_matrix" not in made_up(201, 402).as_dict()


@pytest.mark.parametrize("sets", [False, True])
@pytest.mark.parametrize("classes", [2, 77])
def test_page_needs_nothing_from_outside(classes, sets):
    html = as_html(made_up(classes, 770, sets))
    page = Page(html)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert value.startswith(("#", "data:image/png;base64,"))
        if not name.startswith("xmlns"):
            assert "//" not in value or value.startswith("data:image/png;base64,")
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert page.tags.count("table") >= 4
    assert page.tags.count("svg") == (4 if classes == 77 and not sets else 3)  # curves, calibration, heat map


@pytest.mark.parametrize("sets", [False, True])
@pytest.mark.parametrize("classes", [2, 30])
def test_page_escapes_what_comes_from_outside(classes, sets):
    labels = [f"{HOSTILE} {number}" for number in range(classes)]
    text = "<script>alert('text')</script><img src=x onerror=alert(1)> \x00\ud800 & so on"
    report = made_up(classes, 60, sets, labels, [text] * 60)
    report = replace(
        report,
        title=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        notes=(HOSTILE,),
        verdicts=tuple(replace(verdict, name=HOSTILE) for verdict in report.verdicts),
        history=({"step": 1, f"valid_{HOSTILE}": 0.5}, {"step": 2, f"valid_{HOSTILE}": 0.6}),
    )
    html = as_html(report)
    html.encode("utf-8")  # half a surrogate pair would fail here
    page = Page(html)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "<script>alert('text')</script>" in page.words
    assert f"{HOSTILE} 1" in page.words
    as_text(report).encode("utf-8")


def test_plots_keep_chinese_and_dollars_as_text():
    report = made_up(labels=["退款", "价格 $5 或 $10", "refund"])
    html = as_html(replace(report, history=({"step": 1, "valid_$x^2$": 0.5},)))
    assert "退款" in html
    assert "价格 $5 或 $10" in html
    assert "valid_$x^2$" in html[html.index("<svg") : html.index("</svg>")]


def test_worst_mistakes_are_the_surest_and_shortened():
    report = made_up(rows=1000, texts=[f"row {row} " + "长" * 400 for row in range(1000)])
    html = as_html(report)
    shown = re.findall(r"row (\d+) (长+…)", html)
    assert [int(row) for row, _ in shown] == list(range(990, 690, -10))
    assert all(len(f"row {row} {rest}") == 300 for row, rest in shown)
    assert "Wrong rows: 100; here the 30 the model was surest of, the surest first." in html


def test_worst_mistake_of_a_set():
    truth, predicted = np.array([[1, 0, 0], [0, 0, 1]]), np.array([[0, 0, 0], [0, 1, 1]])
    probabilities = np.array([[0.05, 0.1, 0.1], [0.1, 0.7, 0.9]])
    labels = ("class 0", "class 1", "class 2")
    words = Page(as_html(told(labels, truth, probabilities, {"after fine-tuning": predicted}))).words
    rows = words[words.index("Worst mistakes") : words.index("Facts")].split()
    assert "Wrong rows: 2, the surest first." in " ".join(rows)
    assert "text 0 class 0 (none) 0.950" in " ".join(rows)
    assert "text 1 class 2 class 1, class 2 0.700" in " ".join(rows)


def test_a_bare_report_and_a_perfect_model():
    truth = np.arange(60) % 3
    report = told(("a", "b", "c"), truth, np.eye(3)[truth], {"after fine-tuning": truth}, facts=(), notes=())
    html = as_html(report)
    assert "None: every row is right." in html
    assert html.count("<svg") == 1  # calibration
    assert headline(report) == "accuracy 1.000 (0.940–1.000) on 60 test rows"
    assert "after fine-tuning" in as_text(report)


@dataclass(frozen=True)
class Correlations:
    """The scores of something that knows no classes."""

    pearson: float
    rows: int = 7

    def named(self, metric):
        return getattr(self, metric)

    def as_dict(self):
        return {"pearson": self.pearson, "rows": self.rows}


def test_a_report_of_another_task():
    columns = (Column("text", "text"), Column("distance"), Column("times"))
    report = Report(
        title="regression: pairs.csv",
        facts=(),
        notes=(),
        metrics={"pearson": "Pearson's correlation"},
        metric="pearson",
        verdicts=(Verdict("mean", Correlations(-0.25), 0.1), Verdict("after fine-tuning", Correlations(0.5), 75.0)),
        history=({"step": 1, "valid_pearson": 0.4}, {"step": 2, "valid_pearson": 0.5}),
        findings=Findings(
            sections=(
                Table("Furthest off", "The worst first.", columns, ((HOSTILE, 1.23456, 4), ("b", 12.0, 1234))),
                Plot("Spread", "Truth against answer.", svg(axes("truth", "answer"))),
                Table("Nothing here", "None: every row is right.", columns, ()),
            ),
            numbers={"spread": [1, 2]},
        ),
        breakdown=((HOSTILE, "laid  out\nalready"),),
    )
    assert headline(report) == "Pearson's correlation 0.500 on 7 test rows; mean -0.250"
    text = as_text(report).split("\n")
    assert text[4].startswith("Pearson's correlation  ")
    assert text[5].startswith("               -0.250  ")
    assert text[-3:] == ["laid  out", "already", ""]
    assert report.as_dict()["spread"] == [1, 2]
    assert report.as_dict()["verdicts"][1] == {
        **{"name": "after fine-tuning", "seconds": 75.0, "pearson": 0.5, "rows": 7},
        "intervals": {},
    }
    html = as_html(report)
    assert re.findall(r"<h2>(.*)</h2>", html) == [
        *("Comparison", "Learning curves", "Furthest off", "Spread", "Nothing here")
    ]
    assert '<td class="number">1.235</td>' in html
    assert '<td class="number">1234</td>' in html
    assert "--share: 0.0" in html  # of a score below 0, no bar
    page = Page(html)
    assert "script" not in page.tags
    assert HOSTILE in page.words
    assert page.tags.count("svg") == 2
    assert page.tags.count("table") == 2


def test_the_same_report_gives_the_same_page():
    assert as_html(made_up(30)) == as_html(made_up(30))


def test_ten_thousand_rows_take_seconds():
    report = made_up(77, 10_000)
    start = time.process_time()
    assert len(as_html(report)) < 1_000_000
    assert time.process_time() - start < 5
