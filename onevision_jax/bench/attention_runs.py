"""Who is timed: our implementations, jax's own, cuDNN, tokamax and torch, on the same arrays.

Each is a `Run` or a sentence saying why it does not run here.
"""

import importlib.util
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax.bench.attention_problems import Inputs, Problem
from onevision_kernels.attention import Call, prepare_ranges, range_attention
from onevision_kernels.attention.api import IMPLEMENTATIONS

# Scores that an implementation without blocks may hold: B x N x T x S in float32.
SCORE_BYTES = 2**32


class Run(Protocol):
    """Starts work and waits for it; results come as numpy arrays of one batch row."""

    def forward(self) -> Any: ...
    def both(self) -> Any: ...
    def wait(self, started: Any) -> None: ...
    def results(self, d_out: jax.Array) -> tuple[np.ndarray, ...]:
        """out, dq, dk, dv, each [T, heads, H] float64."""
        ...


Maker = Callable[[Problem, Inputs], Run]


class CannotRun(Exception):
    """Why a contestant takes no part, as one sentence."""


def contestants() -> dict[str, Maker]:
    """Name -> how to make its run. Making one raises CannotRun with the reason."""
    ours = {f"onevision {name}": _ours(name) for name in IMPLEMENTATIONS}
    return {
        **ours,
        "cuDNN (jax.nn)": cudnn,
        "cuDNN packed": cudnn_packed,
        "splash (jax)": splash,
        "tokamax": tokamax,
        "torch SDPA": torch_sdpa,
    }


class JaxRun:
    """attend(q, k, v, *more) -> out, compiled alone and with its gradients."""

    def __init__(self, attend: Callable[..., jax.Array], inputs: Inputs, *more: Any):
        q, k, v, d_out = inputs

        def with_gradients(q, k, v, d_out, *more):
            out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, *more), q, k, v)
            return out, *pull(d_out.astype(out.dtype))

        forward, both = jax.jit(attend), jax.jit(with_gradients)
        self.forward = lambda: forward(q, k, v, *more)
        self.both = lambda: both(q, k, v, d_out, *more)
        self._of = lambda d_out: both(q, k, v, d_out, *more)

    def wait(self, started: Any) -> None:
        """Until the device is done."""
        jax.block_until_ready(started)

    def results(self, d_out: jax.Array) -> tuple[np.ndarray, ...]:
        """Of a d_out of the caller's."""
        return tuple(np.asarray(x[0], np.float64) for x in self._of(d_out))


def _ours(name: str) -> Maker:
    def make(problem: Problem, inputs: Inputs) -> Run:
        call = Call.of(inputs.q, inputs.k, causal=problem.causal, max_span=problem.max_span)
        if name == "reference":
            _refuse_large(problem)
        try:  # Prepared once, as for all the layers of a batch.
            prepared = prepare_ranges(jnp.asarray(problem.ranges), call, implementation=name)
        except ValueError as error:
            raise CannotRun(str(error)) from error

        def attend(q, k, v, prepared):
            return range_attention(q, k, v, prepared).out

        return JaxRun(attend, inputs, prepared)

    return make


def _refuse_large(problem: Problem) -> None:
    needs = 4 * problem.num_heads * problem.num_tokens**2
    if needs > SCORE_BYTES:
        raise CannotRun(f"would hold all scores, {needs / 2**30:.0f} GiB")


def _as_batch(problem: Problem, attend: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Equal segments are a batch: [1, T, ...] is read as [segments, T / segments, ...]."""
    if problem.segments is None:
        raise CannotRun("knows no mask of two ranges a query")
    num, length = len(problem.segments), problem.segments[0]

    def attend_parts(q, k, v):
        q, k, v = (x.reshape(num, length, *x.shape[2:]) for x in (q, k, v))
        out = attend(q, k, v)
        return out.reshape(1, num * length, *out.shape[2:])

    return attend_parts


def _need_nvidia(inputs: Inputs) -> None:
    device = jax.devices()[0]
    if device.platform not in ("gpu", "cuda"):
        raise CannotRun(f"needs an NVIDIA GPU, this is {device.device_kind}")
    if inputs.q.dtype == jnp.float32:
        raise CannotRun("knows float16 and bfloat16 only")


def cudnn(problem: Problem, inputs: Inputs) -> Run:
    """jax's public function; segments go as a batch."""
    _need_nvidia(inputs)

    def attend(q, k, v):
        return jax.nn.dot_product_attention(
            q, k, v, is_causal=problem.causal, implementation="cudnn"
        )

    return JaxRun(_as_batch(problem, attend), inputs)


def cudnn_packed(problem: Problem, inputs: Inputs) -> Run:
    """Segments by their offsets in one row, through a private function of jax."""
    _need_nvidia(inputs)
    if jax.__version_info__ < (0, 11, 2):
        raise CannotRun("gave wrong results for grouped heads before jax 0.11.2")
    if problem.segments is None:
        raise CannotRun("knows no mask of two ranges a query")
    try:
        library: Any = import_module("jax._src.cudnn.fused_attention_stablehlo")
        mask = library.MaskType.PADDING_CAUSAL if problem.causal else library.MaskType.PADDING
        packed = library.dot_product_attention
    except (ImportError, AttributeError) as error:
        raise CannotRun(f"this jax has moved its private function ({error})") from error
    lengths = jnp.asarray([problem.segments], jnp.int32)
    offsets = jnp.asarray([np.cumsum([0, *problem.segments])], jnp.int32)

    def attend(q, k, v, lengths, offsets):
        return packed(
            q,
            k,
            v,
            q_seqlen=lengths,
            kv_seqlen=lengths,
            q_offsets=offsets,
            kv_offsets=offsets,
            scale=problem.head_dim**-0.5,
            mask_type=mask,
        )

    return JaxRun(attend, inputs, lengths, offsets)


def splash(problem: Problem, inputs: Inputs) -> Run:
    """jax's TPU kernel with segment ids, which mask and do not skip."""
    if jax.devices()[0].platform != "tpu":
        raise CannotRun(f"needs a TPU, this is {jax.devices()[0].device_kind}")
    if problem.segments is None:
        raise CannotRun("knows no mask of two ranges a query")
    from jax.experimental.pallas.ops.tpu import splash_attention as library

    T = problem.num_tokens
    mask = library.CausalMask((T, T)) if problem.causal else library.FullMask((T, T))
    kernel: Any = library.make_splash_mha_single_device(
        library.MultiHeadMask([mask] * problem.num_heads),
        block_sizes=library.BlockSizes(
            **dict.fromkeys(("block_q", "block_kv", "block_q_dkv", "block_kv_dkv"), 1024),
            block_kv_compute=512,
            block_kv_dkv_compute=512,
            use_fused_bwd_kernel=True,
        ),
    )
    ids = np.repeat(np.arange(len(problem.segments)), problem.segments)

    def attend(q, k, v, ids):
        q, k, v = (x[0].transpose(1, 0, 2) for x in (q * problem.head_dim**-0.5, k, v))
        return kernel(q, k, v, library.SegmentIds(ids, ids)).transpose(1, 0, 2)[None]

    return JaxRun(attend, inputs, jnp.asarray(ids, jnp.int32))


def tokamax(problem: Problem, inputs: Inputs) -> Run:
    """Its own choice of implementation; segments go as a batch."""
    if importlib.util.find_spec("tokamax") is None:
        raise CannotRun("tokamax is not installed (it needs Python 3.12)")
    try:
        library: Any = import_module("tokamax")
    except ImportError as error:
        raise CannotRun(f"tokamax cannot be imported: {error}") from error
    if jax.devices()[0].platform == "cpu" and problem.segments == (problem.num_tokens,):
        _refuse_large(problem)

    def attend(q, k, v):
        return library.dot_product_attention(q, k, v, is_causal=problem.causal)

    return JaxRun(_as_batch(problem, attend), inputs)


class TorchRun(NamedTuple):
    """q, k, v, d_out as [segments, heads, length, H] tensors on torch's device."""

    torch: Any
    arrays: tuple[Any, ...]
    causal: bool

    def _attend(self, q: Any, k: Any, v: Any) -> Any:
        attend = self.torch.nn.functional.scaled_dot_product_attention
        return attend(q, k, v, is_causal=self.causal, enable_gqa=True)

    def forward(self) -> Any:
        """Without a tape."""
        with self.torch.inference_mode():
            return self._attend(*self.arrays[:3])

    def both(self) -> Any:
        """out and the three gradients."""
        return self._both(self.arrays[3])

    def _both(self, d_out: Any) -> Any:
        leaves = [x.detach().requires_grad_() for x in self.arrays[:3]]
        out = self._attend(*leaves)
        return out.detach(), *self.torch.autograd.grad(out, leaves, d_out)

    def wait(self, started: Any) -> None:
        """Until the device is done."""
        if self.arrays[0].is_cuda:
            self.torch.cuda.synchronize()

    def results(self, d_out: jax.Array) -> tuple[np.ndarray, ...]:
        """Of a d_out of the caller's."""
        like = self.arrays[3]
        given = _tensor(self.torch, d_out, like.shape[0], like.device)
        return tuple(
            x.transpose(1, 2).flatten(0, 1).double().cpu().numpy() for x in self._both(given)
        )


def torch_sdpa(problem: Problem, inputs: Inputs) -> Run:
    """torch's scaled_dot_product_attention (flash where it can); segments go as a batch."""
    if importlib.util.find_spec("torch") is None:
        raise CannotRun("torch is not installed (the parity extra)")
    if problem.segments is None:
        raise CannotRun("knows no mask of two ranges a query but a dense one")
    import torch

    platform = jax.devices()[0].platform
    if platform not in ("cpu", "gpu", "cuda"):
        raise CannotRun(f"torch does not reach this {platform}")
    if platform != "cpu" and not torch.cuda.is_available():
        raise CannotRun("this torch was built without CUDA")
    device = "cpu" if platform == "cpu" else "cuda"
    num = len(problem.segments)
    arrays = tuple(_tensor(torch, x, num, device) for x in inputs)
    return TorchRun(torch, arrays, problem.causal)


def _tensor(torch: Any, x_1THH: jax.Array, num_segments: int, device: Any) -> Any:
    name = re.sub(r"\W", "", str(x_1THH.dtype))
    tensor = torch.from_numpy(np.array(x_1THH[0], np.float32)).to(device, getattr(torch, name))
    return tensor.unflatten(0, (num_segments, -1)).transpose(1, 2)
