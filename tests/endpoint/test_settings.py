"""Which servers are asked, and how a key is read."""

import asyncio
import datetime
import email.utils
import sys

import pytest

from onevision_jax.endpoint import EndpointConfig
from onevision_jax.endpoint.pace import Pace, backoff, retry_after
from onevision_jax.endpoint.send import import_httpx
from onevision_jax.endpoint.settings import hide, is_loopback, read_key
from onevision_jax.errors import InputError

GOOD = [
    "http://127.0.0.1:8000/v1",
    "http://localhost/v1",
    "http://[::1]:80/v1",
    "https://api.openai.com/v1/",
    "http://192.168.1.4:8000/v1",
    "http://gpu-box:8000/v1",
]
BAD = [
    ("ftp://host/v1", "no http or https URL"),
    ("file:///etc/passwd", "no http or https URL"),
    ("api.openai.com/v1", "no http or https URL"),
    ("", "no http or https URL"),
    ("http://", "no http or https URL"),
    ("http://host:99999/v1", "cannot be read"),
    ("http://[::1/v1", "cannot be read"),
    ("https://host/v1?key=1", "query or fragment"),
    ("https://host/v1#x", "query or fragment"),
    ("https://me:pass-word@host/v1", "user name or password"),
    ("http://api.openai.com/v1", "clear text"),
    ("http://127.0.0.1.example.com/v1", "clear text"),
    ("http://host/v1 x", "no http or https URL"),
]


@pytest.mark.parametrize("url", GOOD)
def test_good_addresses(url):
    address = EndpointConfig(url=url, model="m").address
    assert address == url.rstrip("/") + "/chat/completions"


@pytest.mark.parametrize(("url", "sentence"), BAD)
def test_bad_addresses(url, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        EndpointConfig(url=url, model="m")
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    "field",
    [
        {"concurrency": 0},
        {"timeout": float("nan")},
        {"requests_per_minute": -1},
        {"retries": -1},
        {"price_in": float("inf")},
        {"model": " "},
    ],
)
def test_bad_numbers(field):
    with pytest.raises(InputError, match=f"{'name' if 'model' in field else next(iter(field))}"):
        EndpointConfig(**{"url": GOOD[0], "model": "m", **field})


def test_keys(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read_key(GOOD[0]) == ""
    with pytest.raises(InputError, match=r"OPENAI_API_KEY is not set; api\.openai\.com"):
        read_key(GOOD[3])
    for bad in ("a b-secret", "secret\nX-Header: 1", "sécret"):
        monkeypatch.setenv("OPENAI_API_KEY", bad)
        with pytest.raises(InputError, match="OPENAI_API_KEY holds") as caught:
            read_key(GOOD[0])
        assert "ret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", " sk-1\n")
    assert read_key(GOOD[3]) == "sk-1"
    assert hide("of sk-12345678 x", "sk-12345678") == "of *** x"
    assert hide("an x", "x") == "an x"


def test_loopback():
    assert [is_loopback(url) for url in GOOD] == [True, True, True, False, False, False]


def test_waits():
    for attempt, longest in enumerate([1, 2, 4, 8, 10, 10]):
        waits = {backoff(attempt, 1.0, 10.0) for _ in range(50)}
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert backoff(10**6, 1.0, 10.0) <= 10
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "9", "retry-after-ms": "250"}) == 0.25
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    wait = retry_after({"retry-after": email.utils.format_datetime(later, usegmt=True)})
    assert wait == pytest.approx(30, abs=2)
    for text in ("", "soon", "-1", "inf", "nan", "1e9", "٣", "9" * 400):
        assert retry_after({"retry-after": text}) is None


def test_a_pause_holds_everything_back():
    async def measure():
        clock = asyncio.get_running_loop().time
        pace = Pace(None)
        begun = clock()
        await pace.wait()
        first = clock() - begun
        pace.pause(0.1)
        await pace.wait()
        return first, clock() - begun

    first, second = asyncio.run(measure())
    assert first < 0.05 < 0.099 <= second


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(InputError, match=r"pip install 'onevision-jax\[endpoint\]'"):
        import_httpx()
