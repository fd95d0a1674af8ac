"""Meshes, and the one table that lays logical axes over them."""

from onevision_jax.parallel.mesh import make_mesh
from onevision_jax.parallel.processes import join_processes
from onevision_jax.parallel.rules import ShardingRules, bytes_per_device, on_mesh, place

__all__ = ["ShardingRules", "bytes_per_device", "join_processes", "make_mesh", "on_mesh", "place"]
