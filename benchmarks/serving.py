"""Requests a second of the server beside others', on the same model, texts, clients and threads, in turn.

    python benchmarks/serving.py RUN TABLE [--peers pipeline infinity infinity-onnx] [--clients 16] [--seconds 20]

RUN is a run that classifies single texts, TABLE has a column text. Each client asks the label of one text, again and
again, the texts in an order of its own. One server is asked at a time, all for --seconds in each of --rounds; the
others rest. Prints requests a second and latencies, and the ratios by round: the median, and the smallest and largest.

    pipeline       FastAPI and transformers' pipeline, one text at a time (pipeline_server.py)
    pipeline-bf16  the same in bfloat16
    infinity       infinity-emb with PyTorch, batches of up to 32 texts
    infinity-onnx  infinity-emb with ONNX Runtime, the float32 graph of `headwise export RUN`, which must be given
                   as --onnx: a directory with model.onnx

infinity-emb needs an environment of its own (it wants an older transformers); --infinity says where its command is.
How many labels are others than headwise's is printed. headwise itself computes in --precision.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import numpy as np
import torch

from headwise.reading.tables import read

THREADS = 2
SEED = 0
COMPARED = 500  # texts whose labels are compared


@dataclass
class Server:
    """One that is measured: how it is started and asked, and what came of it, round by round."""

    name: str
    command: Sequence[str]
    path: str
    url: str
    seconds: list[np.ndarray] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    failed: int = 0

    def body(self, text: str) -> bytes:
        infinity, others = {"input": [text], "model": "run"}, {"inputs": text, "truncate": True}
        return json.dumps(infinity if self.path == "/classify" else others).encode()

    def label(self, answer: bytes) -> str:
        found: Any = json.loads(answer)
        found = found["data"] if isinstance(found, dict) else found
        scores = found[0] if isinstance(found[0], list) else found
        return max(scores, key=lambda one: one["score"])["label"]

    def ask(self, text: str) -> str:
        request = Request(self.url + self.path, self.body(text), {"content-type": "application/json"})
        return self.label(urlopen(request, timeout=120).read())

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until it answers."""
        while process.poll() is None:
            with suppress(OSError):
                urlopen(self.url + "/health", timeout=5).read()
                return
            time.sleep(0.2)
        raise SystemExit(f"{self.name} did not start")

    def quantile(self, share: float) -> float:
        return float(np.median([np.quantile(one, share) for one in self.seconds]))


def servers(asked: argparse.Namespace) -> list[Server]:
    """headwise first."""
    found = []
    for name in ("headwise", *asked.peers):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        infinity = [str(asked.infinity), "v2", "--port", port, "--device", "cpu", "--served-model-name", "run"]
        serve = [str(Path(sys.executable).with_name("headwise")), "serve", "--precision", asked.precision]
        pipeline = [sys.executable, str(Path(__file__).with_name("pipeline_server.py")), str(asked.run), port]
        command = {
            "headwise": [*serve, str(asked.run), "--port", port],
            "pipeline": pipeline,
            "pipeline-bf16": [*pipeline, "bfloat16"],
            "infinity": [*infinity, "--engine", "torch", "--model-id", str(asked.run)],
            "infinity-onnx": [*infinity, "--engine", "optimum", "--model-id", ".", "--no-model-warmup"],
        }[name]
        path = "/classify" if name.startswith("infinity") else "/predict"
        found.append(Server(name, command, path, f"http://127.0.0.1:{port}"))
    return found


async def load(server: Server, texts: Sequence[str], clients: int, seconds: float) -> None:
    """Each client asks as soon as it is answered."""
    taken: list[float] = []
    began = time.perf_counter()

    async def one(number: int) -> None:
        rng = random.Random(f"{SEED} {number} {len(server.rates)}")
        while time.perf_counter() - began < seconds:
            body, asked = server.body(rng.choice(texts)), time.perf_counter()
            async with session.post(server.url + server.path, data=body) as answer:
                await answer.read()
                server.failed += answer.status != 200
            taken.append(time.perf_counter() - asked)

    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(300)) as session:
        await asyncio.gather(*map(one, range(clients)))
    server.rates.append(len(taken) / (time.perf_counter() - began))
    server.seconds.append(np.array(taken))


def with_graph(run: Path, onnx: Path | None, place: Path) -> None:
    """A directory that optimum reads."""
    for file in run.iterdir():
        if file.is_file() and file.suffix in (".json", ".txt"):
            shutil.copy(file, place)
    if onnx is not None:
        shutil.copy(onnx / "model.onnx", place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--peers", nargs="+", default=["pipeline"])
    parser.add_argument("--infinity", type=Path, default=Path("infinity_emb"))
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    asked.run = asked.run.absolute()
    texts = read(asked.table).table.column("text").to_pylist()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        with_graph(asked.run, asked.onnx, Path(place))
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
        own, *peers = found = servers(asked)
        for server in found:
            quiet = subprocess.DEVNULL
            where = place if server.name == "infinity-onnx" else None  # it finds a graph only where it stands
            process = subprocess.Popen(server.command, env=environment, stdout=quiet, stderr=quiet, cwd=where)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            server.wait(process)
        some = random.Random(SEED).sample(texts, min(COMPARED, len(texts)))
        labels = [own.ask(text) for text in some]
        for peer in peers:
            other = sum(peer.ask(text) != label for text, label in zip(some, labels, strict=True))
            print(f"{peer.name}: another label than headwise for {other} of {len(some)} texts", flush=True)
        for _ in range(asked.rounds):
            for server in found:
                asyncio.run(load(server, texts, asked.clients, asked.seconds))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {THREADS} threads, torch "
          f"{torch.__version__}, {asked.precision}, {asked.clients} clients, seed {SEED}")  # fmt: skip
    for server in found:
        ratios = np.array(own.rates) / np.array(server.rates)
        print(
            f"{server.name:14} {np.median(server.rates):7.1f} requests/s, p50 {1000 * server.quantile(0.5):6.0f} ms, "
            f"p95 {1000 * server.quantile(0.95):6.0f} ms, {server.failed} failed; headwise "
            f"{np.median(ratios):.2f}× ({ratios.min():.2f}–{ratios.max():.2f})"
        )


if __name__ == "__main__":
    main()
