"""Compiled networks: their most frequent shapes are compiled, all others run as they are, and so does all where it fails."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from croco_bench.engine.network import Network
from croco_bench.errors import FitError
from croco_bench.files import cache_folder
from croco_bench.progress import log

Extent = Literal["off", "encoder", "all"]

# The compiler; tests take one that needs no C++.
BACKEND = "inductor"
# Whether a GPU replays the kernels of a compiled part as one graph.
GRAPHS = False
# Compiled versions of one function: blocks differ in their rate of stochastic depth, and run in training and evaluation.
_VERSIONS = 512
# Batch sizes that are compiled for otherwise equal inputs: a first batch may be smaller than those that follow.
_BATCHES = 3


class Compilation:
    """Modules whose calls are compiled, in place; names of weights stay.

    Attributes:
        failure: the reason why they run as they are; None if they were compiled, or not called yet.
    """

    def __init__(self, parts: Sequence[nn.Module], device: torch.device) -> None:
        """`parts` are called in this order."""
        os.environ.setdefault(
            "TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled" / f"torch-{torch.__version__}")
        )
        for name in ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit"):
            if hasattr(torch._dynamo.config, name):
                setattr(torch._dynamo.config, name, _VERSIONS)
        self.failure: str | None = None
        self._seconds, self._last = 0.0, parts[-1]
        for part in parts:
            part._compiled_call_impl = _Call(part, self, device)

    @property
    def notes(self) -> tuple[str, ...]:
        """A note for the result if nothing was compiled."""
        return (f"the network ran uncompiled: {self.failure}",) if self.failure else ()

    def forgives(self, error: Exception) -> bool:
        """Whether this is the compiler's first failure, after which all parts run as they are."""
        kinds = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")
        of_compiler = isinstance(error, TorchDynamoException) or type(error).__module__.startswith(kinds)
        if self.failure or not of_compiler:
            return False
        # A first line may only announce the reason: "backend='inductor' raised:".
        lines = [line for line in map(str.strip, str(error).splitlines()) if line and not line.endswith(":")]
        self.failure = f"{lines[0]:.200}" if lines else type(error).__name__
        log(f"note: the network can't be compiled here and runs as it is ({self.failure})")
        return True

    def took(self, part: nn.Module, seconds: float) -> None:
        """Adds the time of a compilation; after that of the last part it is told."""
        self._seconds += seconds
        if part is self._last:
            log(f"compiled in {self._seconds:.0f} s")
            self._seconds = 0.0


class _Call:
    """The call of a module."""

    def __init__(self, module: nn.Module, compilation: Compilation, device: torch.device) -> None:
        self._module, self._compilation = module, compilation
        self._plain: Callable[..., Any] = module._call_impl
        # Random draws as of the plain module, so that both compute the same.
        options: Any = {"fallback_random": True, "triton.cudagraphs": GRAPHS and device.type == "cuda"}
        self._compiled: Any = torch.compile(
            self._plain,
            backend=BACKEND,
            dynamic=False,
            options=options if BACKEND == "inductor" else None,
        )
        self._sizes: dict[Any, list[int]] = {}

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        known = self._sizes.setdefault(_kind(self._module, (inputs, named)), [])
        batch = _batch_of((inputs, named))
        new = batch not in known
        if self._compilation.failure or (new and (len(known) == _BATCHES or batch < max(known, default=0))):
            return self._plain(*inputs, **named)
        began = time.monotonic()
        try:
            if GRAPHS:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            with warnings.catch_warnings():
                # Tables of positions are kept between calls; a compiled network computes them.
                warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
                output = self._compiled(*inputs, **named)
        except Exception as error:
            if not self._compilation.forgives(error):
                raise
            return self._plain(*inputs, **named)
        if new:
            known.append(batch)
            self._compilation.took(self._module, time.monotonic() - began)
        return output


def _tensors(inputs: Any) -> list[Tensor]:
    """All tensors of nested inputs, in order."""
    if isinstance(inputs, Tensor):
        return [inputs]
    if isinstance(inputs, dict):
        inputs = list(inputs.values())
    return [tensor for one in inputs for tensor in _tensors(one)] if isinstance(inputs, tuple | list) else []


def _batch_of(inputs: Any) -> int:
    return next((len(tensor) for tensor in _tensors(inputs) if tensor.ndim), 0)


def _kind(module: nn.Module, inputs: Any) -> Any:
    """What decides, besides the batch size, which version of a compiled module serves."""
    shapes = tuple((tensor.dtype, tensor.shape[1:]) for tensor in _tensors(inputs))
    return module.training, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), shapes


def compile_network(network: Network, extent: Extent, device: torch.device) -> Compilation | None:
    """Compiles each block of the backbone ("encoder"), or the whole network ("all"); None with "off".

    Raises:
        FitError: "encoder", but the backbone doesn't name its blocks.
    """
    if extent == "off":
        return None
    return Compilation(parts_of(network, network.backbone.units(), network.backbone.name, extent), device)


def parts_of(whole: nn.Module, blocks: Sequence[nn.Module], name: str, extent: Extent) -> Sequence[nn.Module]:
    """The modules to compile.

    Raises:
        FitError: "encoder", but there are no blocks.
    """
    if extent == "encoder" and not blocks:
        raise FitError(
            f"{name} doesn't say what its blocks are, which train.compile=encoder needs",
            "set train.compile=all, or implement units",
        )
    return blocks if extent == "encoder" else [whole]
