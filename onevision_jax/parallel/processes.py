"""Several processes that train as one: how they meet, what only one of them does, how they end.

Each is told by three environment variables, which `launch/local.sh` sets on one machine:

    ONEVISION_NUM_PROCESSES   how many there are
    ONEVISION_PROCESS_ID      which of them this is, from 0
    ONEVISION_COORDINATOR     host:port of process 0, where the others find it

The end of one is the end of all, within a minute: one that fails leaves without waiting for the
others (`leave`), and its connections to them break. Where none breaks, jax misses its heartbeats
for `HEARTBEAT_SECONDS` and aborts the others; without process 0 it aborts them at once. Whom jax
aborts ends with 134, the shell's number for it, and says why only with `--debug`.
"""

import concurrent.futures
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from onevision_jax.errors import InputError

Result = TypeVar("Result")

COUNT, INDEX = "ONEVISION_NUM_PROCESSES", "ONEVISION_PROCESS_ID"
COORDINATOR = "ONEVISION_COORDINATOR"
WAIT_SECONDS = 300  # for all to come
HEARTBEAT_SECONDS = 30  # jax's default is 100


def join_processes(
    environment: Mapping[str, str] = os.environ, say: Callable[[str], None] = print
) -> None:
    """Makes this process one of those that the variables speak of; does nothing without them.

    To be called before anything touches a device. Returns when all have come. Process 0 says whom
    it waits for. Raises InputError when a variable is wrong or missing, the port is
    taken, or process 0 is not found.
    """
    given = [name for name in (COUNT, INDEX, COORDINATOR) if environment.get(name)]
    if not given:
        return
    for name in (COUNT, INDEX, COORDINATOR):
        if name not in given:
            raise InputError(
                f"{name} is not set, but {given[0]} is; set all of {COUNT}, {INDEX} and "
                f"{COORDINATOR}, or none (launch/local.sh sets them)"
            )
    count = _whole_number(environment, COUNT, 1)
    index = _whole_number(environment, INDEX, 0, count - 1)
    host, port = _host_and_port(environment[COORDINATOR])
    if count == 1:
        return
    if index == 0:
        _check_free(port)
        say(f"waiting for {count - 1} of {count} processes at {host}:{port}")
    else:
        _find(host, port)
    _initialise(f"{host}:{port}", count, index)
    _connect()


def is_first() -> bool:
    """Whether this is process 0, which prints, and writes what is written once.

    Starts no backend where there is but one process.
    """
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when all processes have come here; name: of the place, the same in all."""
    if jax.distributed.is_initialized():
        multihost_utils.sync_global_devices(name)


def call_apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """function(*arguments); where there are several processes, in a new one that is none of them.

    For work of process 0 on its own that would wait for the others, as every save of Orbax does.
    The new process computes on the CPU; function and arguments must be picklable.
    """
    if not jax.distributed.is_initialized():
        return function(*arguments)
    with concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), _on_the_cpu
    ) as pool:
        return pool.submit(function, *arguments).result()


def explain(error: BaseException) -> BaseException:
    """What is to be said of an error: where it is but a broken connection, that the other ended."""
    if isinstance(error, jax.errors.JaxRuntimeError) and "Gloo" in str(error):
        return InputError(
            f"process {jax.process_index()} lost another one, whose own message says why it ended; "
            "the same command goes on from the newest checkpoint"
        )
    return error


def leave(code: int) -> NoReturn:
    """Ends this process now, for one that failed while others run.

    At an ordinary exit jax would first wait for the others, and they wait for this one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _whole_number(
    environment: Mapping[str, str], name: str, least: int, most: int | None = None
) -> int:
    text = environment[name]
    if text.isdecimal() and least <= int(text) and (most is None or int(text) <= most):
        return int(text)
    wanted = f"{least} or more" if most is None else f"{least} to {most}"
    raise InputError(
        f"{name} is {text!r}; give a whole number, {wanted} "
        f"({COUNT} is {environment[COUNT]}), or start with launch/local.sh"
    )


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and 0 < int(port) < 2**16:
        return host, int(port)
    raise InputError(
        f"{COORDINATOR} is {address!r}; give the host of process 0 and a port that is free there, "
        "such as 10.0.0.1:29500"
    )


def _check_free(port: int) -> None:
    """Some versions of jax crash where the port is taken."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen on port {port}, which {COORDINATOR} names "
            f"({os.strerror(error.errno or 0)}); give another"
        ) from None


def _find(host: str, port: int) -> None:
    """Returns when somebody answers: jax would wait too, but then abort and not say why."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection((host.strip("[]"), port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > give_up_at:
                raise InputError(
                    f"nobody answered at {COORDINATOR}={host}:{port} for {WAIT_SECONDS} seconds "
                    f"({error.strerror or error}); start process 0 there, or give its address"
                ) from None
        time.sleep(0.2)


def _initialise(address: str, count: int, index: int) -> None:
    # What jax uses between CPUs; it has no say on other devices.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would catch SIGTERM, and a process that was told to end would go on.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address=address,
        num_processes=count,
        process_id=index,
        cluster_detection_method="deactivate",  # Slurm's variables would choose devices.
        initialization_timeout=WAIT_SECONDS,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )


def _connect() -> None:
    """Opens the connections now, while all are here.

    Between CPUs, a process that comes to a first connection 30 seconds after the others would find
    them gone; once it is open they wait for ever.
    """
    multihost_utils.sync_global_devices("all processes have joined")
    everywhere = NamedSharding(Mesh(np.asarray(jax.devices()), "all"), PartitionSpec("all"))
    ones = jax.make_array_from_callback(
        (jax.device_count(),), everywhere, lambda index: np.ones(1, np.int32)
    )
    jax.block_until_ready(jax.jit(jax.numpy.sum)(ones))


def _on_the_cpu() -> None:
    jax.config.update("jax_platforms", "cpu")
