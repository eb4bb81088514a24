"""The server as a whole: who may ask, clients that leave or dawdle, new versions, the end, the metrics."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from urllib.request import urlopen

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.serving import asking, server
from headwise.serving.guard import Door
from headwise.serving.limits import Limits
from headwise.serving.models import opened

KEY = "k" * 32
ASK = {"inputs": "a fine film"}


def connected(url: str) -> socket.socket:
    """A plain connection to a server."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(url: str, length: int, path: str = "/predict") -> bytes:
    """The head of a request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def until(true) -> None:
    """Wait until something is true, not for ever."""
    ends = time.monotonic() + 100
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


# Who may ask


def test_other_addresses_need_a_key_that_is_not_easily_guessed():
    with pytest.raises(InputError, match=r"--host 0\.0\.0\.0: other machines could ask without a key"):
        Door.of("0.0.0.0", None)
    with pytest.raises(InputError, match="characters that a header cannot carry"):
        Door.of("127.0.0.1", "密码" * 8)
    with pytest.raises(InputError, match="the API key has 5 characters, expected 16 or more"):
        Door.of("0.0.0.0", "short")
    door = Door.of("0.0.0.0", KEY)
    assert KEY not in repr(door) and KEY.encode() not in vars(door).values()
    assert Door.of("::1", None).digest is None


def test_the_command_refuses_and_says_what_to_do(command, run_of, monkeypatch):
    monkeypatch.delenv("HEADWISE_API_KEY", raising=False)
    status, _, said = command("serve", run_of("films"), "--host", "0.0.0.0")
    assert status == 2 and "set one as HEADWISE_API_KEY" in said
    monkeypatch.setenv("HEADWISE_API_KEY", "short")
    assert "expected 16 or more" in command("serve", run_of("films"))[2]
    assert "no such model directory" in command("serve", "nowhere", "--check")[2]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.delenv("HEADWISE_API_KEY")
        status, _, said = command("serve", run_of("films"), "--port", taken.getsockname()[1])
        assert status == 2 and "cannot be listened at (Address already in use)" in said
    for name, value in (("max-batch-tokens", "1 or more"), ("max-queue-seconds", "0.1 to 3600")):
        status, _, said = command("serve", run_of("films"), f"--{name}", "0")
        assert status == 2 and f"{name.replace('-', '_')} is 0, expected {value}" in said
    twice = command("serve", run_of("films"), run_of("films"), "--check")
    assert twice[0] == 2 and "two models are called 'films'" in twice[2]


def test_a_key_is_asked_for_but_not_to_see_that_it_is_there(started, run_of):
    running = started(run_of("films"), key=KEY)
    for path in ("/health", "/health/ready", "/ping", "/v2/health/live", "/models/films/health"):
        status, _, headers = running.ask(path)
        assert status == 200 and "x-model" not in headers
    for path in ("/models/dramas/health", "/models/dramas/ping"):  # nobody learns what else is here
        status, answer, _ = running.ask(path)
        assert status == 404 and "films" not in str(answer)
    for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY[:-1]}):
        status, answer, headers = running.ask("/predict", ASK, **given)
        assert running.ask("/", ASK, **given)[0] == running.ask("/models/films", ASK, **given)[0] == 401
        assert status == 401 and answer["error_type"] == "Security" and headers["www-authenticate"] == "Bearer"
    assert running.ask("/metrics")[0] == running.ask("/info")[0] == 401
    assert running.ask("/predict", ASK, authorization=f"Bearer {KEY}")[0] == 200
    assert running.ask("/predict", ASK, authorization=f"Bearer {KEY}", host="my.server")[0] == 200


def test_a_check_asks_this_machine_and_no_proxy(running, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert server.asked_over_http(f"{running.url}/models/films", ["a fine film"])[0]["label"] in ("bad", "good")


def test_pages_of_other_sites_cannot_ask(running):
    own = running.url.removeprefix("http://")
    assert running.ask("/predict", ASK, origin=running.url)[0] == 200
    for given in ({"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}):
        assert running.ask("/predict", ASK, **given)[0] == 403
    assert running.ask("/predict", ASK, host=f"localhost:{own.split(':')[1]}")[0] == 200
    assert running.ask("/predict", ASK, host="a b")[0] == 400
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert running.ask("/predict", ASK, content_type=kind)[0] == 415
    assert running.ask("/predict", ASK, content_encoding="gzip")[0] == 415


def test_every_answer_carries_its_id_and_a_strict_policy(running):
    _, _, headers = running.ask("/predict", ASK, x_request_id="mine-7")
    assert headers["x-request-id"] == "mine-7"
    _, _, headers = running.ask("/nowhere", x_request_id="a\tb")
    assert len(headers["x-request-id"]) == 16
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


def test_texts_are_neither_in_the_log_nor_in_the_metrics(running, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    secret = "xyzzy-4711"
    for path, body in (("/predict", {"inputs": secret}), ("/predict", {secret: 1}), (f"/{secret}?q={secret}", {})):
        running.ask(path, body)
    monkeypatch.setattr(asking, "as_json", lambda found: {}[secret])  # a mistake of ours that quotes
    status, answer, _ = running.ask("/predict", {"inputs": secret})
    monkeypatch.undo()
    assert status == 500 and secret not in answer["error"]
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith(("headwise", "uvi")))
    assert "/predict 200" in logged and "KeyError at" in logged and secret not in logged
    assert secret not in running.ask("/metrics")[1]


# Clients that leave, or dawdle


def test_what_a_client_that_left_asked_is_not_computed(started, run_of, monkeypatch):
    from headwise.serving import batching

    go, usual, seen = threading.Event(), batching.predicted, []

    def slow(*given, **named):
        go.wait(20)
        seen.append(1)
        return usual(*given, **named)

    running = started(run_of("films"))
    monkeypatch.setattr(batching, "predicted", slow)
    batcher = running.server.batcher
    body = json.dumps({"inputs": [["dull"]] * 100}).encode()
    clients = []
    for _ in range(20):
        client = connected(running.url)
        client.sendall(head(running.url, len(body)) + body)
        clients.append(client)
    until(lambda: batcher.works == 20)
    for client in clients:
        client.close()
    until(lambda: batcher.works <= 1)  # but for the one that is being computed
    go.set()
    until(lambda: batcher.dropped >= 18)
    assert len(seen) <= 2 and batcher.works == 0 and batcher.backlog == 0
    assert running.ask("/predict", ASK)[0] == 200
    assert "headwise_clients_gone_total 20.0" in running.ask("/metrics")[1]


def test_half_sent_requests_are_cut_after_a_deadline(started, run_of, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(asking, "BODY_SECONDS", 0.4)
    running = started(run_of("films"))
    silent, half_a_head, half_a_body, kept = (connected(running.url) for _ in range(4))
    half_a_head.sendall(head(running.url, 30)[:40])
    half_a_body.sendall(head(running.url, 30) + b'{"inputs"')
    body = json.dumps(ASK).encode()
    kept.sendall(head(running.url, len(body)) + body)
    answer = b""
    while not answer.endswith(b"]"):  # its head and its body may come one by one
        answer += kept.recv(65536)
    assert b"200 OK" in answer
    kept.sendall(b"POST /pre")  # half of a second one
    began = time.monotonic()
    assert b"408" in half_a_body.recv(65536)
    for client in (silent, half_a_head, kept):
        with suppress(ConnectionResetError):
            assert client.recv(65536) == b""
    assert time.monotonic() - began < 5
    assert running.ask("/predict", ASK)[0] == 200


@pytest.mark.parametrize(
    "sent, said",
    [
        (b"GET /" + b"x" * 70_000, "65,536"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"x-more: 1\r\n" * 7_000, "65,536"),
        (b"what is this?\r\n\r\n", "Invalid HTTP"),
        (b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "Invalid HTTP"),
    ],
)
def test_what_is_no_http_or_has_no_end_is_refused(running, sent, said):
    client = connected(running.url)
    client.sendall(sent)
    head, _, body = client.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"connection: close" in head
    assert said in json.loads(body)["error"]
    assert running.ask("/health")[0] == 200


def test_the_first_text_that_is_cut_is_named_by_its_own_number():
    tokens = SimpleNamespace(cut=np.array([False, False, False, True, True]))
    assert asking.first_cut(SimpleNamespace(tokens=tokens, counts=None)) == 3
    assert asking.first_cut(SimpleNamespace(tokens=tokens, counts=np.array([3, 2]))) == 1  # of windows, or of pairs
    assert asking.first_cut(SimpleNamespace(tokens=tokens, counts=np.array([1, 1, 2, 1]))) == 2


def test_a_body_that_is_too_large_is_told_so(running):
    status, answer, _ = running.ask("/predict", b'{"inputs": "' + b"x" * 3_000_000 + b'"}')
    assert status == 413 and "2,000,000 bytes" in answer["error"]


def test_the_limits_hold(run_of, started):
    running = started(run_of("films"), limits=Limits(max_client_batch_size=2, max_characters=20, payload_limit=60))
    for inputs, said in ([["a"]] * 3, "2 at most"), ([["a" * 21]], "20 at most"), ([["a" * 60]], "60 bytes"):
        status, answer, _ = running.ask("/predict", {"inputs": inputs})
        assert status == 413 and said in answer["error"]
    assert running.ask("/info")[1]["max_client_batch_size"] == 2


def test_a_full_queue_is_429_and_health_answers_all_the_while(started, run_of, monkeypatch):
    from headwise.serving import batching

    go, usual = threading.Event(), batching.predicted
    running = started(run_of("films"), limits=Limits(max_concurrent_requests=2))
    monkeypatch.setattr(batching, "predicted", lambda *given, **named: go.wait(20) and usual(*given, **named))
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(running.ask, "/predict", ASK) for _ in range(6)]
        until(lambda: sum(one.done() for one in answers) == 4)
        assert running.ask("/health")[0] == 200
        go.set()
        found = [one.result() for one in answers]
    assert sorted(status for status, *_ in found) == [200, 200, 429, 429, 429, 429]
    assert all(int(headers["retry-after"]) >= 1 for status, _, headers in found if status == 429)


@pytest.mark.parametrize(("path", "body"), [("/tokenize", {"inputs": "fine"}), ("/decode", {"ids": [1]})])
def test_who_asks_for_tokens_waits_in_line_too(started, run_of, monkeypatch, path, body):
    go, usual = threading.Event(), asking.Call.read

    async def held(call, *given):
        while not go.is_set():
            await asyncio.sleep(0.01)
        return await usual(call, *given)

    running = started(run_of("films"), limits=Limits(max_concurrent_requests=1, max_queue_seconds=0.5))
    assert running.ask(path, body)[0] == 200
    monkeypatch.setattr(asking.Call, "read", held)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(running.ask, path, body) for _ in range(3)]
        until(lambda: sum(one.done() for one in answers) == 2)  # there was room for one
        time.sleep(0.6)
        go.set()
        assert [one.result()[0] for one in answers] == [429] * 3  # which has waited too long


def test_a_crowd_does_not_hold_up_who_asks_for_little(running):
    """Few of it take their turn in one round of the event loop; in a crowd its turns come in order."""
    service = asking.Service(running.server.shelf, running.server.batcher, Limits(), None)
    begun = []

    async def one(number: int) -> None:
        await service.turn()
        begun.append(number)

    async def crowd() -> list[int]:
        waiting = [asyncio.create_task(one(number)) for number in range(5 * asking.ABREAST)]
        counts = []
        while len(begun) < len(waiting):
            counts.append(len(begun))
            await asyncio.sleep(0)
        return [*counts, len(begun)]

    counts = asyncio.run(crowd())
    assert max(np.diff(counts)) <= asking.ABREAST and begun == sorted(begun)


def test_it_computes_in_bfloat16_where_told_to(started, run_of, command):
    usual, half = started(run_of("films")), started(run_of("films"), precision="bfloat16")
    assert [one.ask("/info")[1]["model_dtype"] for one in (usual, half)] == ["float32", "bfloat16"]
    (first, *_), (second, *_) = ([score["score"] for score in one.ask("/predict", ASK)[1]] for one in (usual, half))
    assert first == pytest.approx(second, abs=0.02) and first != second
    assert "answered as in training" in command("serve", run_of("films"), "--check", "--precision", "bfloat16")[1]


# New versions


def test_a_new_version_takes_over_and_a_broken_one_does_not(started, run_of, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("headwise.serving.models.WATCHED_EVERY", 0.05)
    place = tmp_path / "champion"
    shutil.copytree(run_of("films"), place)
    running = started(place)
    versions, ended = set(), threading.Event()

    def keep_asking():
        while not ended.is_set():
            status, _, headers = running.ask("/predict", ASK)
            assert status == 200
            versions.add(headers["x-model-version"])

    with ThreadPoolExecutor(2) as pool:
        asking_on = [pool.submit(keep_asking) for _ in range(2)]
        first = running.ask("/info")[1]["model_sha"]
        for damage in ("cut", "lost"):
            card = json.loads((place / "headwise.json").read_text())
            whole = (place / "model.safetensors").read_bytes()
            if damage == "cut":
                (place / "model.safetensors").write_bytes(whole[:-9])
            else:
                (place / "golden.json").unlink()
            (place / "headwise.json").write_text(json.dumps(card | {"note": damage}))
            until(lambda: f'model="champion",outcome="refused"}} {1 if damage == "cut" else 2}.0' in metrics(running))  # noqa: B023
            shutil.copytree(run_of("films"), place, dirs_exist_ok=True)
            assert running.ask("/info")[1]["model_sha"] == first
        for file in run_of("several").iterdir():  # a whole other model, its card last, as a run is written
            if file.name != "headwise.json" and file.is_file():
                shutil.copy(file, place)
        shutil.copy(run_of("several") / "headwise.json", place)
        until(lambda: running.ask("/info")[1]["model_sha"] != first)
        ended.set()
        for one in asking_on:
            one.result()
    assert len(versions) <= 2 and first in versions
    assert len(running.ask("/predict", ASK)[1]) == 3  # labels of the new one
    refused = [record.getMessage() for record in caplog.records if "is refused" in record.getMessage()]
    assert all("serves on" in line for line in refused) and sum("sha256 differs" in line for line in refused) >= 2
    assert f'model_info{{model="champion",version="{first}"}}' not in metrics(running)


def metrics(running) -> str:
    return running.ask("/metrics")[1]


# The end


def test_sigterm_answers_what_was_accepted(run_of, tmp_path):
    start = "from headwise.cli import main; main()"
    started = subprocess.Popen(
        [sys.executable, "-c", start, "serve", str(run_of("films")), "--port", "0"],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        url = next(line for line in started.stderr if b"listening" in line).decode().split(" at ")[1].split(";")[0]
        body = json.dumps({"inputs": [["she smiles and the music plays"]] * 1000}).encode()
        clients = [connected(url) for _ in range(6)]
        for client in clients:
            client.sendall(head(url, len(body)) + body)
        until(lambda: float(value(url, "headwise_queue_requests")) >= 1)
        started.send_signal(signal.SIGTERM)
        for client in clients:
            assert whole_answer(client).startswith(b"HTTP/1.1 200"), client
        assert started.wait(20) == 0
        assert b"Traceback" not in started.stderr.read()
    finally:
        started.kill()
        started.wait()


def value(url: str, name: str) -> str:
    lines = urlopen(f"{url}/metrics", timeout=5).read().decode().splitlines()
    return next(line.split()[-1] for line in lines if line.startswith(f"{name} "))


def whole_answer(client: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found or not found.endswith(b"]"):
        more = client.recv(65536)
        if not more:
            break
        found += more
    return found


# Metrics


def test_prometheus_reads_the_metrics(running):
    for _ in range(3):
        running.ask("/predict", ASK)
    running.ask("/predict", {"inputs": ""})
    told = metrics(running)
    for name in ("requests_total", "request_seconds_bucket", "queue_requests", "batch_tokens_sum", "refused_total"):
        assert f"\nheadwise_{name}" in told
    assert 'headwise_requests_total{route="/predict",status="400"}' in told
    assert 'model_info{model="films",version="' in told
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    checked = subprocess.run([promtool, "check", "metrics"], input=told.encode(), capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_who_does_not_read_an_answer_does_not_keep_the_connection(started, run_of, monkeypatch):
    monkeypatch.setattr(server, "READ_SECONDS", 0.4)
    running = started(run_of("films"))
    client = connected(running.url)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = json.dumps({"inputs": ["a fine film . dull and slow . "] * 1024}).encode()
    client.sendall((head(running.url, len(body)) + body).replace(b"/predict", b"/tokenize"))
    until(lambda: len(running.server.uvicorn.server_state.connections) == 1)
    until(lambda: not running.server.uvicorn.server_state.connections)
    assert running.ask("/predict", ASK)[0] == 200


def test_a_model_that_was_replaced_leaves_the_memory_without_the_garbage_collector(run_of):
    served = opened("films", run_of("films"))
    weights = weakref.ref(served.model.weights)
    gc.disable()
    try:
        del served
        assert weights() is None  # as what is frozen is never collected
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/films/predict", ASK, 200),
        ("/models/films/predict", {"inputs": 3}, 422),
        ("/models/films/predict", b"{", 400),
        ("/models/none/predict", ASK, 404),
    ],
)
def test_a_request_leaves_nothing_to_the_garbage_collector(running, path, body, status, monkeypatch):
    """Which would stop every answer for longer, the more are asked at once."""
    left = []

    class Watched(asking.Call):
        def __init__(self, *given):
            super().__init__(*given)
            left.append(weakref.ref(self))

    monkeypatch.setattr(asking, "Call", Watched)
    gc.disable()
    try:
        assert running.ask(path, body)[0] == status
        assert len(left) == 1
        until(lambda: left[0]() is None)
    finally:
        gc.enable()


def test_an_answer_is_sent_at_once(running):
    ask = lambda: running.ask("/predict", {"inputs": "dull"})  # noqa: E731
    ask()
    times = []
    for _ in range(20):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    option = running.server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option and min(times) < 0.04  # which is how long an end of an answer would wait for an acknowledgement


def test_a_wrong_method_is_told_the_right_ones(running):
    status, _, headers = running.ask("/predict")
    assert status == 405 and headers["allow"] == "POST"
    status, _, headers = running.ask("/health", b"", content_type="text/plain")
    assert status == 405 and set(headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/predict", {"inputs": {"text_pair": "dull"}}, "inputs"),
        ("/invocations", {"inputs": "dull", "params": False}, "params"),
        ("/v2/models/films/infer", {"inputs": [{"datatype": "BYTES", "data": ["dull"], "shape": [{}]}]}, "shape"),
        ("/v2/models/films/infer", {"inputs": [{"datatype": "BYTES", "data": ["dull"], "shape": None}]}, "shape"),
        ("/v2/models/films/infer", {"inputs": [{"datatype": "BYTES", "data": "dull", "shape": [1]}]}, "data"),
        ("/invocations", {"instances": {"text": {}, "text_pair": 5}}, "inputs"),
        ("/invocations", {"dataframe_split": {"columns": [{}], "data": [["dull"]]}}, "columns"),
    ],
)
def test_what_has_not_the_right_form_is_named(running, path, body, named):
    status, answer, _ = running.ask(path, body)
    assert status == 422 and f"`{named}`" in answer["error"]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/", "/explain", "/tokenize"])
def test_the_model_that_a_request_names_is_the_one_that_answers(running, path):
    body = {"inputs": ["dull"] if path == "/invocations" else "dull"}
    for name in ("films", "several"):
        status, _, headers = running.ask(path, body | {"model": name})
        assert (status, headers["x-model"]) == (200, name)
    assert running.ask(path, body | {"model": "nobody"})[0] == 404


def test_a_model_that_is_not_there_is_not_alive(running):
    assert [running.ask(f"/models/nobody/{path}")[0] for path in ("ping", "health")] == [404, 404]


def test_the_document_describes_every_address_and_the_real_answers(running):
    status, found, _ = running.ask("/openapi.json")
    assert status == 200 and found["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert described == {(method, path) for method, paths in server.ANSWERS.items() for path in paths}
    models = found["paths"]["/models/{model}/predict"]["post"]["parameters"][0]["schema"]["enum"]
    assert "films" in models and "masked" in models
