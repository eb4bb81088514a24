"""What the server does under load and abuse, and whether it still answers with the same bits afterwards.

    python benchmarks/abuse.py CASE RUN [OTHER] [--seconds N] [--count N]

starts `headwise serve` on a copy of RUN at the loopback address, and prints a line of figures for one of these:

    overload   twice the requests a second that it can answer, for --seconds
    abandon    --count requests whose clients leave
    terminate  SIGTERM under load, --count times
    swaps      --count new versions under load, of RUN and OTHER in turn, every tenth one broken
    memory     --count requests
    slow       slowhttptest with 500 connections that send or read slowly, three ways, --seconds each
    fuzz       Schemathesis: all phases, all checks (`schemathesis` must be on the PATH)

A canary, one request before and one after, must get the same bytes. Needs aiohttp (requirements.txt), and a run that
classifies single texts; the generator of load shares the machine with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import combinations
from multiprocessing.connection import Connection
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import numpy as np

SEED = 0
TEXT = "please could you tell me why the card I ordered last week has not come to my new address yet"
WORDS = TEXT.split()
CANARY = {"inputs": [["naïve café, 再也不来"], ["not good"], [" ".join(WORDS * 3)]], "truncate": True}
CONCURRENT = 32


class Server:
    """`headwise serve` in a process of its own."""

    def __init__(self, run: Path, log: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", log
        command = [str(Path(sys.executable).with_name("headwise")), "serve", str(run), "--port", str(self.port)]
        with log.open("ab") as written:
            self.process = subprocess.Popen(command, stderr=written)
        while True:
            with suppress(OSError):
                self.get("/health")
                break
            if self.process.poll() is not None:
                raise SystemExit(f"the server did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)

    def get(self, path: str) -> bytes:
        return urlopen(self.url + path, timeout=60).read()

    def canary(self) -> bytes:
        request = Request(self.url + "/predict", json.dumps(CANARY).encode(), {"content-type": "application/json"})
        return urlopen(request, timeout=60).read()

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    @property
    def memory(self) -> float:
        """Resident, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def text(rng: random.Random) -> str:
    """Some words, a few or many."""
    return " ".join(rng.choices(WORDS, k=min(200, int(rng.lognormvariate(2.5, 0.8)) + 1)))


def body(rng: random.Random) -> dict[str, Any]:
    return {"inputs": text(rng)}


@asynccontextmanager
async def clients() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(120)) as session:
        yield session


Ask = Callable[[], Coroutine[Any, Any, Any]]


async def closed_loop(ask: Ask, concurrent: int, stop: Callable[[], bool]) -> None:
    """Some clients that ask again as soon as they are answered."""

    async def one() -> None:
        while not stop():
            await ask()

    await asyncio.gather(*(one() for _ in range(concurrent)))


class Told:
    """Statuses and seconds of requests."""

    def __init__(self, session: aiohttp.ClientSession, url: str):
        self.session, self.url, self.rng = session, url, random.Random(SEED)
        self.statuses: Counter[Any] = Counter()
        self.seconds: list[float] = []

    async def ask(self) -> None:
        began = time.perf_counter()
        try:
            async with self.session.post(self.url + "/predict", json=body(self.rng)) as answer:
                await answer.read()
                status: Any = answer.status
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            status = type(error).__name__
        self.statuses[status] += 1
        if status == 200:
            self.seconds.append(time.perf_counter() - began)

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share)) if self.seconds else float("nan")

    def __str__(self) -> str:
        return f"{dict(self.statuses)}, p50 {1000 * self.quantile(0.5):.0f} ms, p99 {1000 * self.quantile(0.99):.0f} ms"


async def load(server: Server, seconds: float, concurrent: int = CONCURRENT) -> Told:
    """As much as so many clients can ask."""
    end = time.monotonic() + seconds
    async with clients() as session:
        told = Told(session, server.url)
        await closed_loop(told.ask, concurrent, lambda: time.monotonic() > end)
    return told


def probed(url: str, until: float, found: Connection) -> None:
    """Ask /health five times a second, in a process of its own, as whoever floods has no time."""
    times = []
    while time.monotonic() < until:
        began = time.perf_counter()
        urlopen(url + "/health", timeout=60).read()
        times.append(time.perf_counter() - began)
        time.sleep(0.2)
    found.send(times)


def overload(server: Server, asked: argparse.Namespace) -> str:
    """Open loop: requests come whether or not the ones before are answered."""
    rate = 2 * asyncio.run(load(server, 15)).statuses[200] / 15

    async def flood() -> Told:
        end, waits = time.monotonic() + asked.seconds, random.Random(SEED)
        async with clients() as session:
            told = Told(session, server.url)
            running = set()
            due = time.monotonic()
            while due < end:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                task = asyncio.create_task(told.ask())
                running.add(task)
                task.add_done_callback(running.discard)
                due += waits.expovariate(rate)
            await asyncio.gather(*running)
        return told

    here, there = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=probed, args=(server.url, time.monotonic() + asked.seconds, there))
    prober.start()
    told = asyncio.run(flood())
    times = here.recv()
    prober.join()
    health = f"/health p50 {1000 * np.median(times):.0f} ms, p99 {1000 * np.quantile(times, 0.99):.0f} ms"
    longer = f"{sum(one > 0.05 for one in times)} of {len(times)} above 50 ms, longest {1000 * max(times):.0f} ms"
    return f"{rate:.0f} requests/s for {asked.seconds} s: {told}; {health}, {longer}"


def abandon(server: Server, asked: argparse.Namespace) -> str:
    """Clients that ask for many texts, and leave when all have asked."""
    many = json.dumps({"inputs": [[" ".join(WORDS * 5)]] * 4, "truncate": True}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    whole = head.encode() + f"Content-Length: {len(many)}\r\n\r\n".encode() + many
    before = server.metric("headwise_batch_tokens_sum")
    server.canary()
    sockets = []
    for _ in range(asked.count):
        one = socket.create_connection(("127.0.0.1", server.port))
        one.sendall(whole)
        sockets.append(one)
    deadline = time.monotonic() + 3
    while server.metric("headwise_queue_requests") < 0.9 * asked.count and time.monotonic() < deadline:
        time.sleep(0.02)
    waiting = server.metric("headwise_queue_tokens")
    computed = server.metric("headwise_batch_tokens_sum")
    for one in sockets:
        one.close()
    while server.metric("headwise_queue_requests") > 0:
        time.sleep(0.1)
    late = server.metric("headwise_batch_tokens_sum") - computed
    return (
        f"{asked.count} clients left while {waiting:,.0f} tokens waited ({computed - before:,.0f} had been computed); "
        f"{late:,.0f} tokens, {late / waiting:.1%}, were computed after that"
    )


def terminate(run: Path, log: Path, count: int) -> str:
    """A request counts as accepted when the server has logged its id, or begun to answer it."""
    lost, refused, answered, codes = 0, 0, 0, Counter[int]()
    rng = random.Random(SEED)

    async def one_life(server: Server) -> tuple[int, set[str]]:
        unanswered: set[str] = set()
        done = 0
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

            async def ask() -> None:
                nonlocal done
                number = f"{rng.getrandbits(48):x}"
                try:
                    async with session.post(
                        server.url + "/predict", json=body(rng), headers={"x-request-id": number}
                    ) as answer:
                        await answer.read()
                        done += answer.status == 200
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.01)
                except aiohttp.ClientError:
                    unanswered.add(number)

            loop = asyncio.get_running_loop()
            loop.call_later(rng.uniform(0.2, 0.8), server.process.send_signal, signal.SIGTERM)
            await closed_loop(ask, 16, lambda: server.process.poll() is not None)
        return done, unanswered

    for _ in range(count):
        server = Server(run, log)
        done, unanswered = asyncio.run(one_life(server))
        codes[server.process.wait()] += 1
        logged = log.read_text()
        lost += sum(number in logged for number in unanswered)
        refused += sum(number not in logged for number in unanswered)
        answered += done
        log.write_text("")
    return (
        f"{count} SIGTERMs: {answered:,} requests answered, {lost} accepted ones lost, {refused} connections closed "
        f"before the server had read a request, exit codes {dict(codes)}"
    )


def swaps(server: Server, asked: argparse.Namespace, served: Path) -> str:
    """Each new version's files take the place of the old ones one by one, headwise.json last."""
    sources, over, turn = (asked.run, asked.other), threading.Event(), 1
    resident: list[float] = []

    def swap() -> None:
        nonlocal turn
        for number in range(asked.count):
            broken = number % 10 == 9
            put(sources[turn], served, broken)
            turn = turn if broken else 1 - turn
            before = server.metric("headwise_model_versions_total")
            deadline = time.monotonic() + 60
            while server.metric("headwise_model_versions_total") == before and time.monotonic() < deadline:
                time.sleep(0.1)
            resident.append(server.memory)
        over.set()

    swapper = threading.Thread(target=swap)

    async def asking() -> tuple[Counter[Any], dict[str, list[np.ndarray]]]:
        statuses: Counter[Any] = Counter()
        answers: dict[str, list[np.ndarray]] = {}
        async with clients() as session:

            async def ask() -> None:
                try:
                    async with session.post(server.url + "/predict", json=CANARY) as answer:
                        told = await answer.json()
                        statuses[answer.status] += 1
                    if answer.status == 200:
                        version = answer.headers["x-model-version"]
                        answers.setdefault(version, []).append(scores(told))
                except aiohttp.ClientError as error:
                    statuses[type(error).__name__] += 1

            await closed_loop(ask, 4, over.is_set)
        return statuses, answers

    swapper.start()
    statuses, answers = asyncio.run(asking())
    swapper.join()
    outcomes = [line for line in server.get("/metrics").decode().splitlines() if "model_versions_total{" in line]
    spread = max(float(np.ptp(np.stack(some), axis=0).max()) for some in answers.values())
    means = [np.mean(some, axis=0) for some in answers.values()]
    apart = min(float(np.abs(one - other).max()) for one, other in combinations(means, 2))
    return (
        f"{asked.count} swaps: answers {dict(statuses)}; scores for one request differ by {spread:.1g} in a version "
        f"and by {apart:.1g} between the {len(answers)}; {'; '.join(outcomes)}; {resident[asked.count // 10]:.0f} MiB "
        f"after a tenth, {resident[-1]:.0f} MiB at the end"
    )


def scores(told: list[list[dict[str, Any]]]) -> np.ndarray:
    """Of one answer, by the names of labels."""
    return np.array([[one["score"] for one in sorted(some, key=itemgetter("label"))] for some in told])


def put(source: Path, served: Path, broken: bool) -> None:
    """Another version in the place of the one that is served. A broken one lacks the end of its weights."""
    names = sorted((file.name for file in source.iterdir() if file.is_file()), key=lambda name: name == "headwise.json")
    for name in names:
        content = (source / name).read_bytes()
        if name == "model.safetensors" and broken:
            content = content[: len(content) // 2]
        if name == "headwise.json" and broken:
            content += b"\n"
        aside = served / f".{name}"
        aside.write_bytes(content)
        aside.replace(served / name)


def memory(server: Server, asked: argparse.Namespace) -> str:
    """Resident memory after a tenth of the requests, and after all."""

    async def some(count: int) -> Told:
        left = count

        def stop() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        async with clients() as session:
            told = Told(session, server.url)
            await closed_loop(told.ask, CONCURRENT, stop)
        return told

    began = time.monotonic()
    asyncio.run(some(asked.count // 10))
    first = server.memory
    told = asyncio.run(some(asked.count - asked.count // 10))
    last, seconds = server.memory, time.monotonic() - began
    return (
        f"{asked.count:,} requests in {seconds:.0f} s ({told}): {first:.1f} MiB after a tenth, {last:.1f} MiB at the "
        f"end, {last / first - 1:+.2%}"
    )


def slow(server: Server, asked: argparse.Namespace) -> str:
    """p99 of four usual clients: alone, and beside each of the three attacks."""
    alone = asyncio.run(load(server, asked.seconds, 4))
    told = [f"alone {alone}"]
    predict = ["-u", f"{server.url}/predict", "-f", "application/json"]
    attacks = {
        "half heads": ["-H", "-i", "10", "-u", f"{server.url}/health"],
        "half bodies": ["-B", "-i", "10", "-s", "8192", *predict],
        "slow readers": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3", "-u", f"{server.url}/metrics"],
    }
    for name, options in attacks.items():
        command = ["slowhttptest", "-c", "500", "-r", "200", "-l", str(asked.seconds), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as attack:
            time.sleep(3)
            told.append(f"{name} {asyncio.run(load(server, asked.seconds - 6, 4))}")
            attack.terminate()
    return "; ".join(told)


def fuzz(server: Server, asked: argparse.Namespace) -> str:
    """What Schemathesis finds; a refusal of what has the right form but not the right sense is none."""
    with tempfile.TemporaryDirectory() as place:
        config = Path(place) / "schemathesis.toml"
        config.write_text('[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", 400, 422, 429]\n')
        command = ["schemathesis", "--config-file", str(config), "run", f"{server.url}/openapi.json"]
        command += [
            "--checks",
            "all",
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--seed",
            str(SEED),
            "--no-color",
        ]
        command += ["--max-examples", str(asked.count)]
        found = subprocess.run(command, cwd=place, capture_output=True, text=True)
    statuses: Counter[str] = Counter()
    for line in server.get("/metrics").decode().splitlines():
        if line.startswith("headwise_requests_total{"):
            statuses[line.partition('status="')[2][0] + "xx"] += int(float(line.rpartition(" ")[2]))
    said = [
        line.strip() for line in found.stdout.splitlines() if ("ST2" in line and ":" in line) or "generated," in line
    ]
    return f"answers {dict(statuses)}; {'; '.join(said)}; exit code {found.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = {"overload": overload, "abandon": abandon, "memory": memory, "slow": slow, "fuzz": fuzz}
    parser.add_argument("case", choices=[*cases, "terminate", "swaps"])
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--count", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        served, log = Path(place) / "served", Path(place) / "log"
        shutil.copytree(asked.run, served)
        if asked.case == "terminate":
            first = Server(served, log)
            before = first.canary()
            first.end()
            print(terminate(served, log, asked.count))
        server = Server(served, log)
        if asked.case != "terminate":
            before = server.canary()
            told = swaps(server, asked, served) if asked.case == "swaps" else cases[asked.case](server, asked)
            print(told)
        if asked.case == "swaps":
            put(asked.run, served, False)
            time.sleep(10)
        print("canary: " + ("the same bytes" if server.canary() == before else "OTHER BYTES"))
        if server.end():
            raise SystemExit("the server did not end well")


if __name__ == "__main__":
    main()
