"""What the variables of several processes may be, and what is said of the others.

That processes really train together is tested in tests/launch.
"""

import socket

import jax
import pytest

from onevision_jax.errors import InputError
from onevision_jax.parallel import join_processes, processes

GOOD = {
    "ONEVISION_NUM_PROCESSES": "2",
    "ONEVISION_PROCESS_ID": "1",
    "ONEVISION_COORDINATOR": "127.0.0.1:29500",
}


@pytest.mark.parametrize("nothing", [{}, dict.fromkeys(GOOD, ""), {"PATH": "/bin"}])
def test_without_the_variables_nothing_happens(nothing):
    join_processes(nothing)
    assert processes.is_first()
    processes.wait_for_all("here")
    assert processes.call_apart(max, 3, 5) == 5


def test_one_process_has_nobody_to_wait_for():
    join_processes({**GOOD, "ONEVISION_NUM_PROCESSES": "1", "ONEVISION_PROCESS_ID": "0"})
    assert not jax.distributed.is_initialized()


@pytest.mark.parametrize("name", GOOD)
def test_one_variable_missing(name):
    with pytest.raises(InputError, match=f"^{name} is not set, but .*; set all of"):
        join_processes({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ONEVISION_NUM_PROCESSES", "two", "'two'; give a whole number, 1 or more"),
        ("ONEVISION_NUM_PROCESSES", "0", "'0'; give a whole number, 1 or more"),
        ("ONEVISION_NUM_PROCESSES", "1", "'1'; give a whole number, 0 to 0"),
        ("ONEVISION_PROCESS_ID", "2", "'2'; give a whole number, 0 to 1"),
        ("ONEVISION_PROCESS_ID", "-1", "'-1'; give a whole number, 0 to 1"),
        ("ONEVISION_COORDINATOR", "localhost", "'localhost'; give the host of process 0"),
        ("ONEVISION_COORDINATOR", ":29500", "':29500'; give the host of process 0"),
        ("ONEVISION_COORDINATOR", "host:70000", "'host:70000'; give the host of process 0"),
    ],
)
def test_a_wrong_value_is_named(name, value, said):
    with pytest.raises(InputError, match=f"^ONEVISION_[A-Z_]+ is {said}"):
        join_processes({**GOOD, name: value})


@pytest.fixture
def port():
    """One that nobody else has; with somebody listening on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


def test_nobody_there(port, monkeypatch):
    server, number = port
    server.close()
    monkeypatch.setattr(processes, "WAIT_SECONDS", 0.3)
    with pytest.raises(InputError, match=r"nobody answered at .* \(Connection refused\)"):
        join_processes({**GOOD, "ONEVISION_COORDINATOR": f"127.0.0.1:{number}"})


def test_a_port_that_is_taken(port):
    said = []
    environment = {**GOOD, "ONEVISION_PROCESS_ID": "0"}
    with pytest.raises(InputError, match=f"cannot listen on port {port[1]}, .* in use"):
        join_processes(
            {**environment, "ONEVISION_COORDINATOR": f"127.0.0.1:{port[1]}"}, said.append
        )
    assert not said


def test_a_broken_connection_is_explained():
    broken = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
    assert "process 0 lost another one" in str(processes.explain(broken))
    other = ValueError("Gloo")
    assert processes.explain(other) is other
