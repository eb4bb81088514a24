"""The programs that run an exported graph, and round it to 8 bits: ONNX Runtime and OpenVINO."""

from __future__ import annotations

import io
import logging
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headwise.errors import InputError

Feed = Mapping[str, np.ndarray[Any, Any]]  # input_ids, attention_mask, token_type_ids, each [b t]
ONNX = "model.onnx"
LARGE = 2**31 - 2**24  # bytes of weights that no longer fit into one file of protocol buffers


@contextmanager
def needed(extra: str) -> Iterator[None]:
    """Inside, what the extra installs is there, and says nothing but what is an error. Raises InputError without it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise InputError(f"this needs {error.name}; install it: pip install 'headwise[{extra}]'") from None
    finally:
        logging.disable(before)


@contextmanager
def explained(what: str, advice: str) -> Iterator[None]:
    """Inside, an engine's errors, which have no class in common, become one line."""
    try:
        yield
    except (InputError, ModuleNotFoundError, OSError):
        raise
    except Exception as error:
        said = str(error).split("\n", 1)[0][:200]
        raise InputError(f"{what} ({said}); {advice}") from None


class Engine(ABC):
    """A graph opened with so many threads, which any number of callers may run at once.

    Raises InputError for what is no graph of the engine's, and where the engine is not installed.
    """

    title: ClassVar[str]
    library: ClassVar[str]  # as model cards call what it reads
    packages: ClassVar[tuple[str, ...]]  # that writing its graphs takes
    graph: ClassVar[str]  # what it calls a graph in a model directory
    files: ClassVar[str]  # the graph, and weights that lie beside it
    flat: ClassVar[bool]  # whether states are best traced as [n d], not as [b t d]
    tokens: ClassVar[int]  # asked at once at most
    calibrated: ClassVar[bool]  # whether in 8 bits it rounds by scales that some texts have settled
    plainly: ClassVar[str]  # how its own users open a graph and ask it: makes a list of outputs wanted of inputs

    quantised: bool
    inputs: frozenset[str]
    outputs: frozenset[str]

    @abstractmethod
    def __init__(self, file: Path, threads: int): ...

    @abstractmethod
    def run(self, wanted: Sequence[str], feed: Feed) -> list[np.ndarray[Any, Any]]:
        """Some outputs."""

    @classmethod
    @abstractmethod
    def convert(cls, traced: Path) -> None:
        """Put the engine's own form in the place of an ONNX graph."""

    @classmethod
    @abstractmethod
    def quantise(cls, graph: Path, calibration: Sequence[Feed]) -> None:
        """Put its weights, and what is multiplied with them, in 8 bits."""

    @classmethod
    def refuse_missing(cls) -> None:
        """Raise InputError where something that writing its graphs takes is not installed."""
        for package in cls.packages:
            if find_spec(package) is None:
                raise InputError(f"this needs {package}; install it: pip install 'headwise[{cls.library}]'")

    @classmethod
    def remove(cls, directory: Path) -> None:
        """Its graph and weights."""
        for file in directory.glob(cls.files):
            file.unlink()

    @property
    def alone(self) -> bool:
        """Whether it must be asked one sequence at a time, as what it makes of one depends on those beside it."""
        return self.quantised and not self.calibrated


class OnnxRuntime(Engine):
    """In 8 bits, all numbers that come to a product share one scale, which is found as they come."""

    title, library = "ONNX Runtime", "onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")
    graph, files = ONNX, f"{ONNX}*"
    flat = True  # biases are added within a product, but in two dimensions only: 15 % faster
    tokens = 256  # 8 % faster than 1,024
    calibrated = False
    plainly = """session = onnxruntime.InferenceSession("model.onnx")
made = session.run(wanted, {one.name: inputs[one.name] for one in session.get_inputs()})"""
    signature = "onnx.quantize"  # of its quantiser

    def __init__(self, file: Path, threads: int):
        with needed("onnx"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        with explained(f"{file}: cannot be opened by {self.title}", "take a whole copy"):
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.quantised = self.session.get_modelmeta().producer_name == self.signature
        self.inputs = frozenset(one.name for one in self.session.get_inputs())
        self.outputs = frozenset(one.name for one in self.session.get_outputs())

    def run(self, wanted: Sequence[str], feed: Feed) -> list[np.ndarray[Any, Any]]:
        made: list[np.ndarray[Any, Any]] = self.session.run(list(wanted), dict(feed))
        return made

    @classmethod
    def convert(cls, traced: Path) -> None:
        """It reads ONNX."""

    @classmethod
    def quantise(cls, graph: Path, calibration: Sequence[Feed]) -> None:
        """Weights of products and embeddings, one scale for each column."""
        eight = graph.with_name(f"eight-{graph.name}")
        with needed("onnx"), explained(f"{graph}: cannot be put in 8 bits by {cls.title}", "report it"):
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                graph,
                eight,
                op_types_to_quantize=["MatMul", "Gather"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=graph.stat().st_size > LARGE,
                extra_options={"MatMulConstBOnly": True},
            )
        cls.remove(graph.parent)
        eight.replace(graph)


@cache
def core() -> Any:
    """OpenVINO's, one for this process: each lays out a stack for signals, and of two that overlap the second leaves
    that of the first in use when both are gone, so that the next Ctrl-C would end in a segmentation fault."""
    with needed("openvino"):
        import openvino
    return openvino.Core()


class OpenVino(Engine):
    """In 8 bits, scales are settled beforehand by NNCF, so that many sequences can be asked at once."""

    title, library = "OpenVINO", "openvino"
    packages = (*OnnxRuntime.packages, "openvino", "nncf")
    graph, files = "openvino_model.xml", "openvino_model.*"  # as optimum-intel calls them
    flat = False  # in two dimensions norms and rounding are fused so that 8 bits take a fifth longer
    tokens = 1024  # 14 % faster in 8 bits than 256
    calibrated = True
    plainly = """compiled = openvino.compile_model("openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
answer = compiled({one.any_name: inputs[one.any_name] for one in compiled.inputs})
made = [answer[name] for name in wanted]"""

    def __init__(self, file: Path, threads: int):
        streams = max(1, (os.cpu_count() or 1) // threads)  # callers with few threads come several at once
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": streams * threads,
            "NUM_STREAMS": streams,
        }
        with explained(f"{file}: cannot be opened by {self.title}", "take a whole copy"):
            model = core().read_model(file)
            self.compiled = core().compile_model(model, "CPU", settings)
        self.idle: list[Any] = []  # requests that nobody waits for
        self.quantised = any(one.get_type_name() == "FakeQuantize" for one in model.get_ops())
        self.inputs = frozenset(one.any_name for one in self.compiled.inputs)
        self.outputs = frozenset(one.any_name for one in self.compiled.outputs)

    def run(self, wanted: Sequence[str], feed: Feed) -> list[np.ndarray[Any, Any]]:
        try:
            request = self.idle.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        made = request.infer(dict(feed))
        self.idle.append(request)
        return [made[name] for name in wanted]

    @classmethod
    def convert(cls, traced: Path) -> None:
        with needed("openvino"), explained(f"{traced}: cannot be written by {cls.title}", "see that the disk has room"):
            import openvino

            model = core().read_model(traced)
            openvino.save_model(model, traced.with_name(cls.graph), compress_to_fp16=False)
        OnnxRuntime.remove(traced.parent)

    @classmethod
    def quantise(cls, graph: Path, calibration: Sequence[Feed]) -> None:
        """Weights of products with one scale for each column, embeddings with one for each token, and attention."""
        os.environ.setdefault("NNCF_CI", "1")  # or it tells its makers what it is used for
        failing = explained(f"{graph}: cannot be put in 8 bits by NNCF", "see that the disk has room")
        with needed("openvino"), failing, redirect_stdout(io.StringIO()):  # where it draws progress
            import nncf
            import openvino

            model = core().read_model(graph)
            names = [one.any_name for one in model.inputs]
            rows = nncf.Dataset(calibration, lambda feed: {name: feed[name] for name in names})
            kind, size = nncf.ModelType.TRANSFORMER, len(calibration)
            quantised = nncf.quantize(model, rows, model_type=kind, subset_size=size)
            eight = graph.with_name(f"eight-{graph.name}")
            openvino.save_model(quantised, eight, compress_to_fp16=False)
        eight.replace(graph)
        eight.with_suffix(".bin").replace(graph.with_suffix(".bin"))


ENGINES: Mapping[str, type[Engine]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
"""By the names of their packages."""
