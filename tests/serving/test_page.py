"""The page: its routes, and what hands can do with it in a browser, whatever a text holds."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

KEY = "k" * 32
EXPECTED = re.compile(r"status of 4\d\d|TrustedScript")  # what is refused; what the test itself evaluates
EVIL = "<img src=x onerror=alert(1)> <script>alert(2)</script>"


# Routes


def test_the_page_and_its_files_come_with_a_strict_policy_and_a_tag(running):
    for path, kind in (("/", "text/html"), ("/page/page.js", "text/javascript"), ("/page/page.css", "text/css")):
        status, _, headers = running.ask(path)
        assert status == 200 and headers["content-type"].startswith(kind)
        assert "unsafe" not in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-cache"
        assert running.ask(path, if_none_match=headers["etag"])[0] == 304
    assert running.ask("/page/nothing.js")[0] == running.ask("/page/..%2f__init__.py")[0] == 404
    assert running.ask("/predict", {"inputs": "a"})[2]["cache-control"] == "no-store"


def test_what_is_known_of_a_model_is_told(running):
    status, told, _ = running.ask("/models/films/about")
    assert status == 200 and told["labels"] == ["bad", "good"] and not told["pairs"] and told["explains"]
    assert told["judged"]["metric"] == "accuracy"
    assert set(told["judged"]["verdicts"][-1]["intervals"]) >= {"accuracy"}
    assert running.ask("/models/questions/about")[1]["pairs"]
    assert running.ask("/models/masked/about")[1]["mask"] == "[MASK]"
    assert running.ask("/models/masked/report")[0] == running.ask("/models/nobody/about")[0] == 404
    status, report, headers = running.ask("/models/films/report")
    assert status == 200 and report.startswith("<!DOCTYPE html>")
    policy = headers["content-security-policy"]
    assert "sandbox" in policy and "script-src" not in policy and "default-src 'none'" in policy


def test_explanations_are_those_of_python(running, run_of):
    import headwise

    text = "a fine film , warm and funny"
    status, told, headers = running.ask("/models/films/explain", {"inputs": text})
    expected = headwise.load(run_of("films")).explain(text)
    assert status == 200 and told["verdict"] == expected.verdict and told["chosen"] == expected.chosen
    assert told["attention"] is None and headers["x-model"] == "films"
    assert told["attributions"][0]["words"] == pytest.approx(expected.attributions[0].words, rel=1e-3, abs=1e-5)
    assert running.ask("/explain", {"inputs": text, "label": "bad"})[1]["label"] == "bad"
    assert running.ask("/models/pairs/explain", {"inputs": ["dull", text]})[0] == 200
    for model, body in (
        ("masked", text),
        ("films", ""),
        ("pairs", text),
        ("films", [text, text]),
        ("films", "a " * 90),
    ):
        assert running.ask(f"/models/{model}/explain", {"inputs": body})[0] == 422, (model, body)
    assert running.ask("/explain", {"inputs": text, "label": "odd"})[0] == 422
    assert running.ask("/explain", {"inputs": "a " * 1001})[0] == 413


def test_one_answer_is_explained_at_a_time_and_none_for_nobody(started, run_of, monkeypatch):
    from headwise.serving import explaining

    running, go, usual = started(run_of("films")), threading.Event(), explaining.Explaining.go_on
    seen = []

    def slow(self, *given):
        seen.append(self)
        go.wait(20)
        usual(self, *given)

    monkeypatch.setattr(explaining.Explaining, "go_on", slow)
    body = json.dumps({"inputs": "a fine film"}).encode()
    host, port = running.url.removeprefix("http://").split(":")
    import socket

    client = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST /explain HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    until(lambda: seen)
    status, _, headers = running.ask("/explain", {"inputs": "a fine film"})
    assert status == 429 and int(headers["retry-after"]) >= 1
    assert running.ask("/predict", {"inputs": "a fine film"})[0] == 200  # others are served all the while
    client.close()
    until(lambda: seen[0].abandoned)
    go.set()
    until(lambda: seen[0].outputs.done())
    assert len(seen) == 1  # the next pass was not made
    assert running.ask("/explain", {"inputs": "a fine film"})[0] == 200
    monkeypatch.setattr(explaining, "MOST_SECONDS", -1.0)
    status, told, _ = running.ask("/explain", {"inputs": "a fine film"})
    assert status == 422 and "explain a part" in told["error"]


def until(true: Callable[[], Any]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_the_page_needs_no_key_but_what_it_asks_does(started, run_of):
    running = started(run_of("films"), key=KEY)
    assert running.ask("/")[0] == running.ask("/page/page.js")[0] == 200
    for path in ("/models/films/about", "/models/films/report", "/info", "/page/../info"):
        assert running.ask(path)[0] in (401, 404), path
    assert running.ask("/explain", {"inputs": "a"})[0] == running.ask("/", {"inputs": "a"})[0] == 401


def test_both_languages_say_the_same_things():
    folder = files("headwise.serving") / "page"
    languages = json.loads((folder / "languages.json").read_text(encoding="utf-8"))
    english, chinese = languages["en"], languages["zh"]
    assert english.keys() == chinese.keys() and english["names"].keys() <= chinese["names"].keys()
    for key in english.keys() - {"names"}:
        blanks = [set(re.findall(r"\{\w+\}", said[key])) for said in (english, chinese)]
        assert blanks[0] == blanks[1], key
    code = "".join(
        file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith((".js", ".html"))
    )
    used = re.findall(r"(?:say\(|data-say=|Mistake\(|\[)\"(\w+)\"", code)
    assert not set(re.findall(r"(?:say\(|data-say=|Mistake\()\"(\w+)\"", code)) - english.keys()
    assert len(used) > 60 and not re.search(r"innerHTML|outerHTML|insertAdjacent|eval\(|document\.write", code)


# In a browser


@pytest.fixture
def opened(browser, running) -> Iterator[Callable[..., Any]]:
    """Opens the page; in the end nothing may have been said, asked of others or violated."""
    wrong: list[str] = []
    contexts = []

    def open_page(model: str | None = None, url: str = "", width: int = 1280, **how: Any) -> Any:
        url = url or running.url
        contexts.append(browser.new_context(**{"locale": "en-US", "viewport": {"width": width, "height": 850}} | how))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: EXPECTED.search(message.text) or wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda one: one.url.startswith((url, "data:", "blob:")) or wrong.append(one.url))
        page.goto(url)
        page.locator("#inside:not([hidden]), #door:not([hidden])").wait_for()
        if model:
            page.locator("#model").select_option(model)
            page.locator("#about dd", has_text=known(running, model)).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def known(running, model: str) -> str:
    return running.ask(f"/models/{model}/about")[1]["version"]


def answered(page: Any, first: str, second: str | None = None) -> str:
    page.locator("#first").fill(first)
    if second is not None:
        page.locator("#second").fill(second)
    page.locator("#ask-now").click()
    page.locator("#answer .headline").first.wait_for()
    return page.locator("#answer").inner_text()


def test_a_text_gets_its_label_and_its_explanation(opened, running):
    page = opened()
    said = answered(page, "a fine film , warm and funny")
    best = running.ask("/models/films/predict", {"inputs": "a fine film , warm and funny"})[1][0]
    assert said.startswith(f"{best['label']} {best['score']:.3f}")
    page.locator("#explain").click()
    page.locator("#explanation .word").first.wait_for()
    assert f"Why “{best['label']}”?" in page.locator("#explanation").inner_text()
    assert page.locator("#explanation .heat").inner_text() == "a fine film , warm and funny"
    page.locator("#why").select_option("bad")
    page.locator("#explain").click()
    page.get_by_text("Why “bad”?").wait_for()
    assert "accuracy" in page.locator("#about").inner_text()
    with page.context.expect_page() as report:
        page.get_by_role("link", name="report").click()
    report.value.wait_for_load_state()
    assert report.value.locator("table").count() > 0


@pytest.mark.parametrize("model", ["tagger", "pairs", "stars", "faq", "questions", "several", "masked"])
def test_every_task_has_its_answer_in_both_languages(opened, model):
    page = opened(model)
    first = "a [MASK] film" if model == "masked" else "😀 we laughed all the way home"
    second = "a fine film , far too long" if model in ("pairs", "faq", "questions") else None
    said = answered(page, first, second)
    assert not re.search(r"undefined|NaN|\[object|\{\w+\}", page.locator("body").inner_text())
    page.locator("[data-language=zh]").click()
    assert "关于此模型" in page.locator("aside").inner_text() and said
    assert not re.search(r"undefined|NaN|\[object|\{\w+\}", page.locator("body").inner_text())
    assert page.locator("#explain-part").is_visible() == (model != "masked")


def test_an_answer_that_is_kept_back_is_none(opened, started, run_of, tmp_path):
    import headwise
    from headwise.judging.fitted import Fitted
    from headwise.judging.selective import Rule
    from headwise.training.saving import whole

    run = shutil.copytree(run_of("questions"), tmp_path / "questions")
    model = headwise.load(run)
    never = replace(model.task, fitted=Fitted(rule=Rule(1.0, 0.1, 100, 50, 0, 0.09)))
    with whole(run) as new:
        replace(model, task=never).write_card(new, model.card["sha256"])
    page = opened(url=started(run).url)
    said = answered(page, "how long", "a fine film , far too long")
    assert said.split("\n")[0] == "No answer" and "unsure" in said and "far" not in said
    assert "gives no answer where it is unsure" in page.locator("#about").inner_text()


def upload(page: Any, place: Path, name: str, content: bytes) -> None:
    (place / name).write_bytes(content)
    page.locator("#file").set_input_files(place / name)


def test_a_file_goes_up_and_comes_back_with_predictions(opened, tmp_path):
    page = opened()
    texts = ["a fine film", '=HYPERLINK("x")', "-1", EVIL, "long " * 2000, *(f"dull and slow {i}" for i in range(150))]
    quoted = [text.replace('"', '""') for text in texts]
    upload(page, tmp_path, "in.csv", ("id,text\r\n" + "".join(f'{i},"{t}"\r\n' for i, t in enumerate(quoted))).encode())
    page.locator("#file-facts", has_text="155 rows").wait_for()
    page.locator("#predict-now").click()
    page.locator("#results button").first.wait_for()
    said = page.locator("#progress-said").inner_text()
    assert said.startswith("155 rows answered.") and "1 rows were refused" in said
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save CSV").click()
    assert saved.value.suggested_filename == "in.predicted.csv"
    import csv

    with open(saved.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [texts[0], "'" + texts[1], *texts[2:]]
    assert all(row["label"] in ("good", "bad") for row in rows if not row["error"])
    assert "longer than the model reads" in rows[4]["error"] and sum(bool(row["error"]) for row in rows) == 1
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save JSON Lines").click()
    lines = [json.loads(line) for line in Path(saved.value.path()).read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in lines] == texts
    assert page.locator("img").count() == 0


def test_numbers_of_a_file_come_back_as_they_were(opened, tmp_path):
    page = opened()
    upload(page, tmp_path, "in.jsonl", b'{"id": 12345678901234567890, "text": "a fine film, 1.50", "n": -1.0e3}\n')
    page.locator("#file-facts", has_text="1 rows").wait_for()
    page.locator("#predict-now").click()
    page.locator("#results button").first.wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save CSV").click()
    row = Path(saved.value.path()).read_text(encoding="utf-8-sig").splitlines()[1]
    assert row.startswith('12345678901234567890,"a fine film, 1.50",-1.0e3,')


def test_a_busy_server_is_waited_for_and_a_run_can_be_cancelled(opened, tmp_path):
    page, busy = opened(), [1]

    def answer(route: Any) -> None:
        if busy:
            busy.pop()
            route.fulfill(status=429, headers={"retry-after": "1"}, json={"error": "full"})
        else:
            time.sleep(0.1)
            route.continue_()

    page.route("**/invocations", answer)
    upload(page, tmp_path, "in.txt", "".join(f"dull {i}\n" for i in range(1000)).encode())
    page.locator("#predict-now").click()
    page.get_by_text("it goes on in 1 s").wait_for()
    page.get_by_text(re.compile(r"^[1-9]\d* of 1,000 rows")).wait_for()
    page.locator("#cancel").click()
    page.get_by_text("Cancelled after").wait_for()
    assert page.get_by_role("button", name="Save CSV").is_visible()


def test_a_file_chosen_while_another_is_answered_gets_none_of_its_answers(opened, tmp_path):
    page = opened()

    def answer(route: Any) -> None:
        time.sleep(0.1)
        route.continue_()

    page.route("**/invocations", answer)
    upload(page, tmp_path, "first.txt", "".join(f"dull {i}\n" for i in range(1000)).encode())
    page.locator("#predict-now").click()
    page.get_by_text(re.compile(r"^[1-9]\d* of 1,000 rows")).wait_for()
    upload(page, tmp_path, "second.txt", b"fine\ngood\n")
    page.locator("#file-facts", has_text="2 rows").wait_for()
    page.wait_for_timeout(500)
    assert page.locator("#results button").count() == 0
    assert page.locator("#predict-now").is_enabled() and page.locator("#cancel").is_hidden()
    page.locator("#predict-now").click()
    page.get_by_text("2 rows answered.").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save CSV").click()
    assert len(Path(saved.value.path()).read_text(encoding="utf-8-sig").splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text;n\n好看的电影;1\n".encode("gb18030"), "read as GB18030 · delimiter: ;"),
        ("a.tsv", 'text\tn\nsay "no"\t1\n'.encode("utf-16"), "1 rows, columns: 2 · read as UTF-16"),
        ("a.jsonl", b'{"tokens": ["a", "b"]}\n', "words joined by blanks"),
        ("a.csv", b"text,n\na,b,c\n", "Line 2: 3 fields, expected 2"),
        ("a.csv", b'text,n\n"a,b\n', "Line 2: misplaced quotation marks"),
        ("a.csv", "text\ncaf\u00e9 r\u00e9sum\u00e9\n".encode("latin-1"), "neither UTF-8"),
        ("a.csv", b"text\n", "a header and no rows"),
        ("a.pdf", b"%PDF", "not a kind of file"),
        ("a.csv", b'text\n"' + b"a" * 9_000_000, "Line 2: misplaced quotation marks"),
        ("a.json", b'[\n {"text": "a, [b", "n": 1},\n {"text": "c", "n": [2]}\n]\n', "2 rows, columns: 2"),
        ("a.json", b'[\n {"text": "a"},\n 7\n]\n', "Line 3: expected a JSON object"),
        ("a.json", b'[\n {"text": "a"}\n', "Line 1: expected a JSON object"),
        ("a.json", b'[{"text": "a"}]\n\n]', "Line 1: expected a JSON object"),
        ("a.jsonl", b"[1]\n", "Line 1: expected a JSON object"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b", "new": 1}\n', "Line 2: new is no column of the first line"),
    ],
)
def test_files_are_read_or_refused_with_a_reason(opened, tmp_path, name, content, said):
    page = opened()
    upload(page, tmp_path, name, content)
    page.locator("#file-facts", has_text=said).wait_for()


def test_hostile_texts_stay_text(opened, tmp_path):
    page = opened()
    answered(page, EVIL)
    page.locator("#explain").click()
    page.locator("#explanation .heat").wait_for()
    assert page.locator("#explanation .heat").inner_text() == EVIL
    upload(page, tmp_path, "in.csv", f'"{EVIL}"\n"{EVIL}"\n'.encode())
    page.locator("#predict-now").click()
    page.locator("#results td").first.wait_for()
    assert EVIL in page.locator("#results").inner_text()
    assert page.locator("img").count() == 0 and page.locator("script").count() == 1


def test_hands_that_only_type_get_everything_done(opened):
    page = opened()
    page.locator("#inside").wait_for()
    page.locator("#first:focus").wait_for()
    page.keyboard.type("a fine film , warm and funny")
    page.keyboard.press("Control+Enter")
    page.locator("#answer .headline").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "ask-now"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "explain"
    assert page.locator("#explain").evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.locator("#explanation .word").first.wait_for()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert "file" in reached and "A" in reached and "SUMMARY" in reached


@pytest.mark.parametrize("model", ["films", "tagger", "questions"])
def test_a_phone_scrolls_down_only(opened, tmp_path, model):
    page = opened(model, width=360, color_scheme="dark", has_touch=True, is_mobile=True)
    asked = ("how long", "w" * 40) if model == "questions" else ("a fine film , " + "w" * 50,)
    answered(page, *asked)
    upload(page, tmp_path, "in.tsv", ("a\tb\n" + "dull " * 8 + "\t" + "x" * 40 + "\n").encode())
    page.locator("#predict-now").tap()
    page.locator("#progress-said", has_text="answered").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_chinese_is_spoken_to_who_reads_it(opened):
    page = opened(locale="zh-CN")
    answered(page, "这部电影很好看")
    page.locator("#explain").click()
    page.locator("#explanation .word").first.wait_for()
    assert "为什么是" in page.locator("#explanation").inner_text()
    assert page.locator("html").get_attribute("lang") == "zh-CN"


def test_the_key_is_asked_for_and_kept_in_the_tab(opened, started, run_of):
    running = started(run_of("films"), key=KEY)
    page = opened(url=running.url)
    page.locator("#door").wait_for()
    page.locator("#key").fill("not the key at all")
    page.keyboard.press("Enter")
    page.get_by_text("does not know this key").wait_for()
    page.locator("#key").fill(KEY)
    page.keyboard.press("Enter")
    assert answered(page, "a fine film").split()[0] in ("good", "bad")
    assert page.evaluate("JSON.stringify(localStorage)") == "{}" and KEY not in page.content()
    with page.expect_download() as saved:
        page.get_by_role("link", name="report").click()
    assert saved.value.suggested_filename == "films-report.html"
    page.locator("#forget").click()
    page.locator("#door").wait_for()
    assert page.evaluate("sessionStorage.length") == 0
