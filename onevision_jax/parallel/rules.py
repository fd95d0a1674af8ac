"""Where each logical axis lives: one table, checked for collisions, applied to everything.

The model names its axes (`onevision_jax.axes`); this table maps names to mesh axes. A dimension
whose size does not divide by its mesh axis stays whole (two kv heads on four tensor devices), and
`replicated` lists such cases so that a plan or a log can say so.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onevision_jax.axes import Axes, activation_sharding
from onevision_jax.errors import InputError
from onevision_jax.types import AnswerCache, Batch, KVCache
from onevision_kernels.target import compiling_for

Tree = TypeVar("Tree")

DEFAULT_RULES: Mapping[str, str | None] = MappingProxyType(
    {
        # Parameters: the width over fsdp, the parallel dimension over tensor.
        "layers": None,
        "embed": "fsdp",
        "heads": "tensor",
        "kv_heads": "tensor",
        "head": None,
        "mlp": "tensor",
        "vocab": "tensor",
        "vision_embed": "fsdp",
        "vision_heads": "tensor",
        "vision_mlp": "tensor",
        "merged": "tensor",
        "qkv": None,
        "frame": None,
        "patch": None,
        "norm": None,
        # Activations: rows over fsdp; inside a layer, heads and mlp over tensor.
        "batch": "fsdp",
        "length": None,
        "patches": None,
        "act_embed": None,
        "act_heads": "tensor",
        "act_kv_heads": "tensor",
        "act_mlp": "tensor",
        "act_vocab": "tensor",
    }
)

# Logical axes of the fields of a Batch.
BATCH_AXES: Mapping[str, Axes] = MappingProxyType(
    {
        "positions": (None, "batch", "length"),
        "patches": ("batch", "patches", None),
        "patch_positions": ("batch", "patches", None),
        "image_ids": ("batch", "patches"),
        "window_ids": ("batch", "patches"),
    }
)


@dataclasses.dataclass(frozen=True)
class ShardingRules:
    """A mesh and the table that lays logical axes over it."""

    mesh: Mesh
    table: Mapping[str, str | None] = dataclasses.field(default_factory=lambda: DEFAULT_RULES)

    def __post_init__(self):
        unknown = {axis for axis in self.table.values() if axis} - set(self.mesh.axis_names)
        if unknown:
            raise InputError(
                f"sharding rules name mesh axes {sorted(unknown)}, the mesh has "
                f"{list(self.mesh.axis_names)}"
            )

    def spec(self, axes: Axes, shape: tuple[int, ...]) -> PartitionSpec:
        """The canonical PartitionSpec (no trailing None) of an array with these logical axes.

        Raises InputError for an unknown name and when two dimensions want one mesh axis.
        """
        assert len(axes) == len(shape), f"{axes} does not name {shape}"
        wanted = [self._mesh_axis(name) for name in axes]
        used = [axis for axis in wanted if axis]
        if len(set(used)) != len(used):
            raise InputError(
                f"sharding rules collide: dimensions {axes} would use mesh axes {wanted}; map one "
                "of them to None"
            )
        placed = [
            axis
            if axis and size % self.mesh.shape[axis] == 0 and self.mesh.shape[axis] > 1
            else None
            for axis, size in zip(wanted, shape, strict=True)
        ]
        while placed and placed[-1] is None:
            placed.pop()
        return PartitionSpec(*placed)

    def _mesh_axis(self, name: str | None) -> str | None:
        if name is None:
            return None
        if name not in self.table:
            raise InputError(f"no sharding rule for the logical axis {name!r}")
        return self.table[name]

    def sharding(self, axes: Axes, shape: tuple[int, ...]) -> NamedSharding:
        """`spec` on the mesh."""
        return NamedSharding(self.mesh, self.spec(axes, shape))

    def replicated(self) -> NamedSharding:
        """Whole on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def params(self, state: Any) -> Any:
        """The shardings of a model's parameters.

        state: `nnx.state(model)`, concrete or abstract. Returns the same tree of NamedShardings.
        """
        return jax.tree.map(
            lambda variable: variable.replace(
                self.sharding(variable.get_metadata()["axes"], variable.shape)
            ),
            state,
            is_leaf=lambda leaf: isinstance(leaf, nnx.Variable),
        )

    def undivided(self, state: Any) -> list[str]:
        """Sentences on dimensions that stay whole because they do not divide."""
        notes = []
        for path, variable in nnx.to_flat_state(state):
            for name, size in zip(variable.get_metadata()["axes"], variable.shape, strict=True):
                axis = self._mesh_axis(name)
                if axis and size % self.mesh.shape[axis]:
                    where = "/".join(str(part) for part in path)
                    parts = self.mesh.shape[axis]
                    notes.append(f"{where}: {name} of {size} is not split over {axis} of {parts}")
        return notes

    def rows_multiple(self) -> int:
        """The number of rows of a batch must be a multiple of this."""
        axis = self._mesh_axis("batch")
        return self.mesh.shape[axis] if axis else 1

    def batch(self, batch: Batch) -> Batch:
        """The shardings of a batch; raises InputError when its rows do not divide."""
        rows, multiple = batch.tokens.shape[0], self.rows_multiple()
        if rows % multiple:
            raise InputError(
                f"a batch of {rows} rows does not divide over {multiple} devices of mesh axis "
                f"{self._mesh_axis('batch')!r}; make it a multiple of {multiple}"
            )
        fields: dict[str, Any] = {
            name: self.sharding(BATCH_AXES.get(name, ("batch", "length")), value.shape)
            for name, value in vars(batch).items()
            if value is not None
        }
        return Batch(**fields)

    def cache(self, cache: KVCache) -> KVCache:
        """The shardings of a KV cache: rows as the batch, kv heads as the heads."""
        slots, rows, whole = self._slots(cache.k), self._rows(cache.start), self._whole()
        answers = cache.answers and AnswerCache(
            k=self._slots(cache.answers.k),
            v=self._slots(cache.answers.v),
            step=whole,
            lengths=self._rows(cache.answers.lengths),
        )
        return KVCache(k=slots, v=slots, start=rows, length=whole, answers=answers)

    # A pytree of shardings has the types of the tree of arrays it stands for.
    def _slots(self, x_LBKSH: jax.Array) -> Any:
        return self.sharding(("layers", "batch", "act_kv_heads", None, None), x_LBKSH.shape)

    def _rows(self, x_B: jax.Array) -> Any:
        return self.sharding(("batch",), x_B.shape)

    def _whole(self) -> Any:
        return self.replicated()


def place(tree: Tree, shardings: Any) -> Tree:
    """Every array of the tree on the devices its sharding names."""
    return jax.device_put(tree, shardings)


def on_mesh(rules: ShardingRules, function: Callable) -> Callable:
    """`function`, tracing its activations onto the mesh, with kernels for the mesh's devices.

    Wrap before `jax.jit`, not after.
    """
    device = rules.mesh.devices.flat[0]

    @functools.wraps(function)
    def traced(*args, **kwargs):
        with activation_sharding(rules.sharding), compiling_for(device):
            return function(*args, **kwargs)

    return traced


def bytes_per_device(state: Any, shardings: Any) -> int:
    """Bytes of one device's share of a (concrete or abstract) tree under its shardings."""
    shares = jax.tree.map(
        lambda leaf, sharding: math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize,
        state,
        shardings,
    )
    return sum(jax.tree.leaves(shares))
