"""A report tells what is wrong with the data it is about."""

import json

import pytest

import headwise
from headwise import finetune


@pytest.fixture(scope="module")
def run(directory_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data-findings")
    rows = [(f"a {word} film number {number}", word) for number in range(12) for word in ("good", "bad")]
    lines = [f"{text}\t{label}" for text, label in rows]
    hostile = "<script>alert(1)</script> said twice"
    train, test = folder / "train.tsv", folder / "test.tsv"
    train.write_text("\n".join(["text\tlabel", *lines, f"{hostile}\tgood", f"{hostile}\tbad"]) + "\n")
    test.write_text("\n".join(["text\tlabel", *lines[:4], "another fine film\tgood", "a dull one\tbad"]) + "\n")
    headwise.train(
        train,
        test=test,
        out=folder / "run",
        model=str(directory_of("bert")),
        epochs=1,
        with_baselines=False,
        quiet=True,
    )
    return folder / "run"


def test_repeats_and_contradictions_stand_in_the_report_and_in_metrics_json(run):
    told = json.loads((run / "metrics.json").read_text())["data_findings"]
    assert any(one["severity"] == "error" and "4 texts of test" in one["words"] for one in told)
    assert [one["severity"] for one in told] == sorted(
        (one["severity"] for one in told), key=["error", "warning", "note"].index
    )
    page = (run / "report.html").read_text()
    assert "Data findings" in page and "4 texts of test" in page
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_the_card_says_what_flatters_the_scores(run):
    assert "4 texts of test" in (run / "README.md").read_text().split("## Data")[0]


def test_a_table_may_go_while_a_model_trains_on_it(directory_of, tmp_path, monkeypatch):
    rows = [(f"a {word} film number {number % 9}", word) for number in range(12) for word in ("good", "bad")]
    file = tmp_path / "films.tsv"
    file.write_text("\n".join(["text\tlabel", *(f"{text}\t{label}" for text, label in rows)]) + "\n")
    train = finetune.attempt

    def attempt(*given, **named):
        file.unlink()
        return train(*given, **named)

    monkeypatch.setattr(finetune, "attempt", attempt)
    how = {"model": str(directory_of("bert")), "epochs": 1, "with_baselines": False, "quiet": True}
    model = headwise.train(file, out=tmp_path / "run", **how)
    assert "films.tsv, line" in (tmp_path / "run/report.html").read_text()
    assert any("repeat an earlier one" in one["words"] for one in model.report.findings.numbers["data_findings"])
