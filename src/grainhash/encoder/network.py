"""The seam between pictures and a network's features: an ONNX graph, run by OpenVINO or ONNX Runtime.

    spec = NetworkSpec(224, mean=(127.5,) * 3, std=(127.5,) * 3)
    network = load_network("network.onnx", spec=spec)
    network.run(pixels)["pooled"]          # uint8 (n, 224, 224, 3) -> float32 (n, 1280)

One `Network` serves any number of threads. In throughput mode each call of `run` keeps one core busy, so a
pipeline of one worker thread a core fills the machine; in latency mode one call uses all cores.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.cores import usable_cores
from grainhash.errors import EncoderError, InputError, MissingExtra

Pixels = NDArray[np.uint8]
"""RGB pictures at a network's input size, `(n, size, size, 3)`."""

Features = dict[str, NDArray[np.float32]]
"""What a network saw, by the name of the graph's output; the first axis is the picture."""

Mode = Literal["throughput", "latency"]


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """How a graph wants its pictures: `(pixels - mean) / std` of RGB 0..255, squares of `input_size`.

    Raises:
        EncoderError: a value that no graph could mean.
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the axes of the graph's own input; PyTorch exports NCHW, TensorFlow NHWC."""

    def __post_init__(self) -> None:
        if type(self.input_size) is not int or self.input_size < 1:
            raise EncoderError(f"network input_size must be a whole number over 0, not {self.input_size!r}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not np.isfinite(values).all():
                raise EncoderError(f"network {name} must be three numbers, not {values!r}")
        if min(self.std) <= 0:
            raise EncoderError(f"network std must be over 0, not {self.std!r}")
        if self.layout not in ("NCHW", "NHWC"):
            raise EncoderError(f"network layout must be NCHW or NHWC, not {self.layout!r}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkSpec:
        """Read what `to_dict` wrote.

        Raises:
            EncoderError: a key that is unknown or missing, or a value of the wrong kind.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise EncoderError(f"unknown network settings: {', '.join(sorted(unknown))}")
        try:
            numbers = {name: tuple(float(v) for v in values[name]) for name in ("mean", "std")}
            return cls(**{**values, **numbers})
        except KeyError as error:
            raise EncoderError(f"network setting {error} is missing") from None
        except (TypeError, ValueError) as error:
            raise EncoderError(f"network settings cannot be read: {error}") from None


class Network(ABC):
    """A graph ready to run. Many threads may call `run` on one object at once."""

    def __init__(self, spec: NetworkSpec, outputs: Sequence[str]) -> None:
        self.spec = spec
        self.outputs = tuple(outputs)

    @property
    def input_size(self) -> int:
        """Side of the square pictures that `run` takes, in pixels."""
        return self.spec.input_size

    def run(self, pixels: Pixels) -> Features:
        """See pictures: uint8 `(n, size, size, 3)` RGB to float32 arrays of `n` rows, one an output.

        The arrays are the caller's own. A picture's features do not depend on the pictures beside it.

        Raises:
            InputError: `pixels` has another dtype or shape.
        """
        size = self.input_size
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            raise InputError(
                f"pixels must be a uint8 array, not {getattr(pixels, 'dtype', type(pixels).__name__)}"
            )
        if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise InputError(f"pixels must have the shape (n, {size}, {size}, 3), not {pixels.shape}")
        if len(pixels) == 0:
            one = self._infer(np.zeros((1, size, size, 3), np.uint8))
            return {name: rows[:0] for name, rows in one.items()}
        return self._infer(np.ascontiguousarray(pixels))

    @abstractmethod
    def _infer(self, pixels: Pixels) -> Features:
        """`run` for one picture or more, already checked."""


class OpenVinoNetwork(Network):
    """The default on a CPU. Only what the wanted outputs need is computed.

    Raises:
        EncoderError: see `load_network`.
    """

    def __init__(
        self,
        path: Path,
        spec: NetworkSpec,
        outputs: Sequence[str],
        *,
        one_of: Sequence[str],
        also: Sequence[str],
        threads: int,
        mode: Mode,
    ) -> None:
        ov = _import_openvino()
        core = ov.Core()
        try:
            whole = core.read_model(path)
        except RuntimeError:
            raise _unreadable(path, "OpenVINO") from None
        shapes = [[_length(axis) for axis in port.get_partial_shape()] for port in whole.inputs]
        has = [name for port in whole.outputs for name in port.get_names()]
        _check_graph(path, spec, outputs, shapes=shapes, has=has)
        super().__init__(spec, _with_others(outputs, one_of, also, has))
        pruned = ov.Model([whole.output(name) for name in self.outputs], whole.get_parameters())
        steps = ov.preprocess.PrePostProcessor(pruned)
        pixels = steps.input()
        pixels.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        pixels.model().set_layout(ov.Layout(spec.layout))
        pixels.preprocess().convert_element_type(ov.Type.f32).mean(list(spec.mean)).scale(list(spec.std))
        settings = {
            "NUM_STREAMS": threads if mode == "throughput" else 1,
            "INFERENCE_NUM_THREADS": threads,
            # Two processes that pin would share one core while another idles.
            "ENABLE_CPU_PINNING": False,
            # Otherwise CPUs with bfloat16 compute the layers that are not int8 more coarsely than others.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": mode.upper(),
        }
        # OpenVINO's CPU plugin gives the thread that makes it a stack for signals, and unmaps that with the
        # last that uses the plugin, wherever this is. A thread that lived on would have its next signal
        # handled in memory that is no longer there, or that holds a picture by then.
        with ThreadPoolExecutor(1, thread_name_prefix="grainhash-compile") as thread_that_ends:
            self._compiled = thread_that_ends.submit(
                core.compile_model, steps.build(), "CPU", settings
            ).result()
        self._local = threading.local()
        # OpenVINO's binding deadlocks where two threads are the first to pass it an array (a static of
        # pybind11, made under the interpreter's lock). So one thread passes the first one, here.
        self._infer(np.zeros((1, spec.input_size, spec.input_size, 3), np.uint8))

    def _infer(self, pixels: Pixels) -> Features:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        # A shared input would let the request write into the caller's array later.
        request.infer({0: pixels}, share_inputs=False, share_outputs=True)
        return {
            name: np.array(request.get_output_tensor(index).data, np.float32)
            for index, name in enumerate(self.outputs)
        }


class OrtNetwork(Network):
    """ONNX Runtime: CUDA where its build has it, else the CPU.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
        EncoderError: see `load_network`.
    """

    def __init__(
        self,
        path: Path,
        spec: NetworkSpec,
        outputs: Sequence[str],
        *,
        one_of: Sequence[str],
        also: Sequence[str],
        threads: int,
        mode: Mode,
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtra("onnxruntime", "ort") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1 if mode == "throughput" else threads
        available = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=providers)
        except Exception:  # its errors share no base class
            raise _unreadable(path, "ONNX Runtime") from None
        inputs = self._session.get_inputs()
        shapes = [[axis if isinstance(axis, int) else None for axis in port.shape] for port in inputs]
        has = [port.name for port in self._session.get_outputs()]
        _check_graph(path, spec, outputs, shapes=shapes, has=has)
        super().__init__(spec, _with_others(outputs, one_of, also, has))
        self._input = inputs[0].name

    def _infer(self, pixels: Pixels) -> Features:
        mean, std = np.array(self.spec.mean, np.float32), np.array(self.spec.std, np.float32)
        normalised = (pixels - mean) / std
        if self.spec.layout == "NCHW":
            normalised = np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))
        found = self._session.run(list(self.outputs), {self._input: normalised})
        return {name: rows.astype(np.float32) for name, rows in zip(self.outputs, found, strict=True)}


RUNTIMES: dict[str, Callable[..., Network]] = {"openvino": OpenVinoNetwork, "onnxruntime": OrtNetwork}
"""Every runtime by name; `auto` takes the first that is installed."""


def load_network(
    path: str | Path,
    *,
    spec: NetworkSpec,
    outputs: Sequence[str] = ("pooled",),
    one_of: Sequence[str] = (),
    also: Sequence[str] = (),
    runtime: str = "auto",
    threads: int | None = None,
    mode: Mode = "throughput",
) -> Network:
    """Load an ONNX graph of one picture input and a free number of pictures.

    Args:
        path: the `.onnx` file.
        spec: how the graph wants its pictures.
        outputs: the graph's outputs to compute; others cost nothing.
        one_of: further outputs of which the first that the graph has is computed too, if it has any.
        also: further outputs that are computed where the graph has them.
        runtime: a name in `RUNTIMES`, or `auto`.
        threads: cores to use; by default all that this process may use.
        mode: `throughput` for one call of `run` a core at a time, `latency` for one call on all cores.

    Raises:
        EncoderError: the file is missing, damaged, no ONNX graph, or does not fit `spec` and `outputs`.
        InputError: an unknown runtime or mode, no outputs, or fewer than one thread.
        MissingExtra: the runtime is not installed.
    """
    path = Path(path)
    if runtime != "auto" and runtime not in RUNTIMES:
        raise InputError(f"unknown runtime {runtime!r}; choose auto, {' or '.join(RUNTIMES)}")
    if mode not in ("throughput", "latency"):
        raise InputError(f"unknown mode {mode!r}; choose throughput or latency")
    if not outputs or isinstance(outputs, str):
        raise InputError(f"outputs must be one name or more, such as ('pooled',), not {outputs!r}")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be 1 or more, not {threads}")
    if not path.is_file():
        raise EncoderError(f"{path}: no such file; an encoder needs its network graph there")
    loader = RUNTIMES[_first_installed() if runtime == "auto" else runtime]
    return loader(path, spec, outputs, one_of=one_of, also=also, threads=threads or usable_cores(), mode=mode)


def _first_installed() -> str:
    return next((name for name in RUNTIMES if importlib.util.find_spec(name)), "onnxruntime")


def _import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry, which would report the import and write to the home folder.

    OpenVINO falls back to a stub where `openvino_telemetry` cannot be imported, so that is what it is told.
    """
    name = "openvino_telemetry"
    hide = name not in sys.modules
    if hide:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import openvino
        import openvino.preprocess
    finally:
        if hide:
            del sys.modules[name]
    return openvino  # type: ignore[no-any-return]


def _unreadable(path: Path, runtime: str) -> EncoderError:
    return EncoderError(f"{path}: not an ONNX graph that {runtime} can run; export or copy it again")


def _length(axis: Any) -> int | None:
    return None if axis.is_dynamic else axis.get_length()


def _with_others(
    outputs: Sequence[str], one_of: Sequence[str], also: Sequence[str], has: Sequence[str]
) -> list[str]:
    """The outputs, the first of `one_of` that the graph has, and those of `also` that it has."""
    there = set(has)
    first = [name for name in one_of if name in there][:1]
    return list(dict.fromkeys([*outputs, *first, *(name for name in also if name in there)]))


def _check_graph(
    path: Path,
    spec: NetworkSpec,
    outputs: Sequence[str],
    *,
    shapes: Sequence[Sequence[int | None]],
    has: Sequence[str],
) -> None:
    """Refuse a graph that `run` could not feed. `shapes` are its inputs', `None` where an axis is free."""
    missing = [name for name in outputs if name not in has]
    if missing:
        raise EncoderError(f"{path}: the graph has no output {missing[0]!r}; it has {', '.join(sorted(has))}")
    if len(shapes) != 1:
        raise EncoderError(f"{path}: the graph has {len(shapes)} inputs; it must have one, the pictures")
    size = spec.input_size
    expected = (None, 3, size, size) if spec.layout == "NCHW" else (None, size, size, 3)
    shape = tuple(shapes[0])
    fits = len(shape) == 4 and all(a in (None, b) for a, b in zip(shape[1:], expected[1:], strict=True))
    if not fits or shape[0] is not None:
        found, wanted = (str(s).replace("None", "n") for s in (shape, expected))
        raise EncoderError(f"{path}: the graph takes {found} but its settings say {wanted}; export it so")
