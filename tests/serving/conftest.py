"""Tiny models of every task, as a run leaves them."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import headwise

SURE = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 12, "patience": 99}


@pytest.fixture(scope="session")
def run_of(directory_of, films, table, tmp_path_factory) -> Callable[[str], Path]:
    """The directory of a finished run, made once: films, tagger, pairs, stars, faq, questions, several."""
    place = tmp_path_factory.mktemp("served")
    tagged = [(text.split(), ["B-WORD", *["O"] * (len(text.split()) - 1)]) for text, _ in films]
    tables = {
        "films": (table(place / "films.tsv", films), {}),
        "tagger": (table(place / "tagger.jsonl", tagged, "tokens", "tags"), {}),
        "pairs": (table(place / "pairs.tsv", [(t, t[::-1], one) for t, one in films], "text_a", "text_b", "label"), {}),
        "stars": (table(place / "stars.tsv", [(t, 1.5 + i) for i, (t, _) in enumerate(films)], "text", "stars"), {}),
        "faq": (table(place / "faq.tsv", [(t, f"{t} indeed") for t, _ in films], "a", "b"), {"pair_column": "b"}),
        "questions": (
            table(place / "q.jsonl", [("how long", f"{t} , far too long", "far too long") for t, _ in films], *QA),
            {"batch_size": 4},
        ),
        "several": (table(place / "several.tsv", [(t, f"{one}|film") for t, one in films]), {"label_separator": "|"}),
        "entails": (
            table(place / "nli.tsv", [(t, t, ENTAILS[one]) for t, one in films], "text_a", "text_b", "label"),
            {},
        ),
    }
    named = {"faq": {"task": "feature-extraction", "text_column": "a"}}

    @cache
    def make(name: str) -> Path:
        file, more = tables[name]
        how = SURE | {"model": str(directory_of("bert")), "with_baselines": False, "quiet": True} | more
        headwise.train(file, file, out=place / name, **how, **named.get(name, {}))
        return place / name

    return make


QA = ("question", "context", "answers")
ENTAILS = {"good": "entailment", "bad": "contradiction"}


class Running:
    """A server in a thread."""

    def __init__(self, server):
        self.server = server
        self.thread = threading.Thread(target=server.run, daemon=True)
        self.thread.start()
        while not server.uvicorn.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        self.url = server.address

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON, headers."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        usual = {} if body is None else {"content-type": "application/json"}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            answer = urlopen(Request(self.url + path, data, usual | names), timeout=60)
        except HTTPError as error:
            answer = error
        with answer:
            said = answer.read()
            kind = answer.headers.get("content-type", "")
            found = json.loads(said) if kind == "application/json" else said.decode()
            return answer.status, found, {name.lower(): value for name, value in answer.headers.items()}

    def stop(self) -> None:
        self.server.uvicorn.should_exit = True
        self.thread.join()


@pytest.fixture
def started() -> Iterator[Callable[..., Running]]:
    """Starts servers that end with the test."""
    from headwise.serving.server import Server

    running = []

    def start(*directories: Path, **how: Any) -> Running:
        running.append(Running(Server(directories, port=0, **how)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture(scope="session")
def masked(directory_of, tmp_path_factory) -> Path:
    """A masked language model of other tools."""
    from transformers import AutoModelForMaskedLM

    place = tmp_path_factory.mktemp("masked") / "masked"
    shutil.copytree(directory_of("bert"), place)
    AutoModelForMaskedLM.from_pretrained(directory_of("bert")).save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def running(run_of, masked) -> Iterator[Running]:
    """One server with a model of every task."""
    from headwise.serving.server import Server

    names = ("films", "tagger", "pairs", "stars", "faq", "questions", "several", "entails")
    server = Running(Server([*map(run_of, names), masked], port=0))
    yield server
    server.stop()
