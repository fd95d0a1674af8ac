"""The client against a server that misbehaves: nothing is lost, asked twice, or let through."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from onevision_jax.endpoint import ChatRequest, EndpointConfig, ReplyCache, complete
from onevision_jax.endpoint.client import Refused
from onevision_jax.errors import InputError

SECRET = "sk-test-0123456789abcdef"


def ask(server, tmp_path, texts, refused: Refused = "stop", **settings):
    """Asks every text, and again only what the folder does not hold."""
    config = EndpointConfig(
        **{"url": server.url, "model": "m", "timeout": 5, "backoff": 0.01, **settings}
    )
    requests = (
        ChatRequest(id=f"q-{text}", messages=[{"role": "user", "content": text}]) for text in texts
    )
    return complete(requests, config, ReplyCache(tmp_path / "cache"), refused=refused)


def once(misbehave, completion):
    """The first request meets `misbehave`, every other one an answer."""

    def plan(handler, body, place):
        if place == 0:
            misbehave(handler)
        else:
            handler.answer(completion("fine"))

    return plan


def test_answers_are_stored_and_never_asked_again(server, tmp_path):
    texts = [f"t{i}" for i in range(12)]
    replies, first = ask(server, tmp_path, texts, price_in=2.0, price_out=10.0)
    assert {name: reply.text for name, reply in replies.items()} == {f"q-{t}": t for t in texts}
    again, second = ask(server, tmp_path, texts, price_in=2.0, price_out=10.0)
    assert again == replies
    assert len(server.asked) == 12
    assert first.to_json() == {
        "requests": 12,
        "cached": 0,
        "retries": 0,
        "refused": 0,
        "possibly_charged_twice": 0,
        "prompt_tokens": 132,
        "completion_tokens": 36,
        "cost": pytest.approx((132 * 2 + 36 * 10) / 1e6),
    }
    assert second.to_json() == first.to_json() | {"requests": 0, "cached": 12}


def test_equal_requests_under_way_are_asked_once(server, tmp_path, chat_completion):
    def slow(handler, body, place):
        time.sleep(0.1)
        handler.answer(chat_completion("one"))

    server.plan = slow
    config = EndpointConfig(url=server.url, model="m")
    requests = [ChatRequest(id=f"{i}", messages=[{"role": "user", "content": "x"}]) for i in "abc"]
    replies, accounting = complete(requests, config, ReplyCache(tmp_path))
    assert [replies[i].text for i in "abc"] == ["one"] * 3
    assert (len(server.asked), accounting.cached) == (1, 2)
    assert accounting.prompt_tokens == 11, "what was charged once is counted once"


def test_what_decides_the_answer_decides_the_key():
    base = {"id": "x", "messages": [{"role": "user", "content": "x"}]}
    png = b"\x89PNG\r\n\x1a\n"

    def shown(data):
        content = [{"type": "image", "image": data}, {"type": "text", "text": "x"}]
        return [{"role": "user", "content": content}]

    different = [
        ChatRequest(**base),
        ChatRequest(**base, temperature=0.5),
        ChatRequest(**base, max_tokens=7),
        ChatRequest(**base, options={"seed": 1}),
        ChatRequest(**base, sample=1),
        ChatRequest(id="x", messages=[{"role": "system", "content": "x"}]),
        ChatRequest(id="x", messages=shown(png + b"a")),
        ChatRequest(id="x", messages=shown(png + b"b")),
    ]
    keys = [request.key("m") for request in different] + [different[0].key("n")]
    assert len(set(keys)) == len(keys)
    assert ChatRequest(**{**base, "id": "y"}).key("m") == keys[0]
    body = different[6].body("m")
    uri = body["messages"][0]["content"][0]["image_url"]["url"]
    assert uri == "data:image/png;base64,iVBORw0KGgph"
    with pytest.raises(InputError, match="no PNG, JPEG, GIF or WebP"):
        ChatRequest(id="x", messages=shown(b"<svg/>")).body("m")


def test_busy_servers_are_given_the_time_they_ask_for(server, tmp_path, chat_completion):
    server.plan = once(lambda handler: handler.error(429, Retry_After="1"), chat_completion)
    replies, accounting = ask(server, tmp_path, ["a"])
    times = [when for when, _, _ in server.asked]
    assert 1.0 <= times[1] - times[0] < 3
    assert replies["q-a"].text == "fine"
    assert (accounting.requests, accounting.retries) == (2, 1)
    assert accounting.possibly_charged_twice == 0


def test_a_wait_beyond_the_limit_ends_the_run(server, tmp_path):
    server.plan = lambda handler, body, place: handler.error(429, "later", Retry_After="3600")
    with pytest.raises(InputError, match=r"q-a: .*429 \(later\).*asks to wait 3600 s; 0 answers"):
        ask(server, tmp_path, ["a"])
    assert len(server.asked) == 1


# What it is, the server's doing, whether the lost answer may be charged.
FAULTS = [
    ("500", lambda h: h.error(500, "oops"), False),
    ("503", lambda h: h.error(503), False),
    ("gateway", lambda h: h.error(504), True),
    ("hang", lambda h: h.hang(), True),
    ("reset", lambda h: h.reset(), True),
    ("half a body", lambda h: h.answer(b'{"choices": [{"mess', length=500), True),
    ("half a JSON", lambda h: h.answer(b'{"choices": [{"message": {"content": "fi'), True),
    ("5 MB", lambda h: h.answer(b'{"x": "' + b"a" * 5_000_000 + b'"}'), True),
    ("HTML", lambda h: h.answer(b"<html>Sign in</html>", kind="text/html"), True),
    ("nested", lambda h: h.answer(b"[" * 200_000), True),
    ("no choices", lambda h: h.answer(b'{"choices": []}'), True),
    ("error as 200", lambda h: h.answer(b'{"error": {"message": "overloaded"}}'), True),
    ("packed", lambda h: h.answer(b"\x1f\x8b", Content_Encoding="gzip"), True),
    ("trickle", lambda h: h.trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" * 9), True),
    ("slow body", lambda h: (h.answer(b"", length=900), h.trickle(b" " * 900)), True),
    ("no HTTP", lambda h: h.trickle(b"\x00\x01\x02\xff\r\n\r\n", pause=0), True),
]


@pytest.mark.parametrize(
    ("misbehave", "charged"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_faults_are_met_by_sending_again(server, tmp_path, chat_completion, misbehave, charged):
    server.plan = once(misbehave, chat_completion)
    begun = time.monotonic()
    replies, accounting = ask(server, tmp_path, ["a"], timeout=1.0)
    assert time.monotonic() - begun < 4
    assert replies["q-a"].text == "fine"
    assert (accounting.requests, accounting.retries) == (2, 1)
    assert accounting.possibly_charged_twice == charged
    files = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) == 1, "the mark of a request is gone once its answer is there"
    assert ask(server, tmp_path, ["a"])[1].possibly_charged_twice == charged


def test_sends_are_bounded(server, tmp_path):
    server.plan = lambda handler, body, place: handler.error(500, "the model crashed")
    with pytest.raises(InputError) as caught:
        ask(server, tmp_path, ["a"], retries=3)
    assert len(server.asked) == 4
    assert str(caught.value) == (
        "q-a: the server answers 500 (the model crashed), sent 4 times; 0 answers are kept, run "
        "the same command to go on"
    )


PERMANENT = [
    (400, "context too long", r"q-a: the server answers 400 \(context too long\)"),
    (401, "bad key", r"401 \(bad key\): check the key in OPENAI_API_KEY"),
    (403, "", "403: the key in OPENAI_API_KEY may not use this model"),
    (404, "no such model", r"404 \(no such model\): check the URL"),
    (302, "", "302: it is at another address; give that one"),
]


@pytest.mark.parametrize(("status", "said", "sentence"), PERMANENT)
def test_what_no_repeat_can_mend_is_one_sentence(server, tmp_path, status, said, sentence):
    elsewhere = "http://127.0.0.1:9/v1/chat/completions"
    server.plan = lambda handler, body, place: handler.error(status, said, Location=elsewhere)
    with pytest.raises(InputError, match=sentence):
        ask(server, tmp_path, ["a"])
    assert len(server.asked) == 1


def test_a_spent_account_is_not_waited_for(server, tmp_path):
    error = {"error": {"message": "no credit", "code": "insufficient_quota"}}
    body = json.dumps(error).encode()
    server.plan = lambda handler, _, place: handler.answer(body, 429)
    with pytest.raises(InputError, match=r"429 \(no credit\)"):
        ask(server, tmp_path, ["a"])
    assert len(server.asked) == 1


def test_answers_before_a_failure_are_kept(server, tmp_path, chat_completion):
    def plan(handler, body, place):
        text = body["messages"][0]["content"]
        if text == "bad":
            return handler.error(400, "no")
        return handler.answer(chat_completion(text))

    server.plan = plan
    with pytest.raises(InputError, match=r"q-bad: .*2 answers are kept"):
        ask(server, tmp_path, ["a", "b", "bad", "c"], concurrency=1)
    assert server.texts() == ["a", "b", "bad"]
    replies, accounting = ask(server, tmp_path, ["a", "b", "bad", "c"], "skip", concurrency=1)
    assert sorted(replies) == ["q-a", "q-b", "q-c"]
    assert (accounting.cached, accounting.refused, accounting.requests) == (2, 1, 2)


def test_no_server(tmp_path):
    config = EndpointConfig(url="http://127.0.0.1:9/v1", model="m", retries=1, backoff=0.01)
    request = ChatRequest(id="a", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(InputError, match=r"a: no connection to http://127.0.0.1:9/v1 .*2 times"):
        complete([request], config, ReplyCache(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing was sent"


def test_concurrency_and_rate_are_kept(server, tmp_path, chat_completion):
    def crowded(handler, body, place):
        end = time.monotonic() + 4
        while server.most_active < 4 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.02)
        handler.answer(chat_completion("x"))

    server.plan = crowded
    ask(server, tmp_path, [f"a{i}" for i in range(30)], concurrency=4)
    assert server.most_active == 4
    begun = time.monotonic()
    ask(server, tmp_path, [f"b{i}" for i in range(6)], concurrency=4, requests_per_minute=600)
    assert time.monotonic() - begun >= 5 * 0.1, "the sixth goes out half a second after the first"


def test_cut_answers_and_missing_counts_are_told(server, tmp_path, chat_completion):
    server.plan = lambda handler, body, place: handler.answer(
        chat_completion("so", "length", usage=None), kind="text/plain"
    )
    replies, accounting = ask(server, tmp_path, ["a"], price_in=1, price_out=1)
    assert (replies["q-a"].text, replies["q-a"].finish_reason) == ("so", "length")
    found = accounting.to_json()
    assert [found[name] for name in ("prompt_tokens", "completion_tokens", "cost")] == [None] * 3


def events(*deltas, end=b"data: [DONE]\n\n"):
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in deltas]
    lines = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return b": comment\n\n" + b"".join(lines) + end


def test_a_stream_that_nobody_asked_for_is_read(server, tmp_path):
    last = {"choices": [{"delta": {}, "finish_reason": "length"}], "usage": {"prompt_tokens": 5}}
    end = b"data: " + json.dumps(last).encode() + b"\n\n"

    def plan(handler, body, place):
        cut = events("on", "ly half", end=b"")
        handler.answer(cut if place == 0 else events("a", "b ", "c", end=end), kind=kind)

    kind = "text/event-stream; charset=utf-8"
    server.plan = plan
    replies, accounting = ask(server, tmp_path, ["a"])
    reply = replies["q-a"]
    assert (reply.text, reply.finish_reason, reply.prompt_tokens) == ("ab c", "length", 5)
    assert (accounting.requests, accounting.possibly_charged_twice) == (2, 1)
    server.plan = lambda handler, body, place: handler.answer(events("x"), kind=kind)
    assert ask(server, tmp_path, ["b"])[0]["q-b"].text == "x"


def test_odd_answers_are_read(server, tmp_path):
    choice = {
        "message": {
            "content": [{"type": "text", "text": "a\ud800"}, {"type": "text", "text": "b"}],
            "reasoning_content": "because",
        },
        "finish_reason": 7,
    }
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": -1}}).encode()
    server.plan = lambda handler, _, place: handler.answer(body)
    reply = ask(server, tmp_path, ["a"])[0]["q-a"]
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("a?b", "because", None)
    assert reply.prompt_tokens is None
    refusal = {"choices": [{"message": {"content": None, "refusal": "I will not."}}]}
    server.plan = lambda handler, _, place: handler.answer(json.dumps(refusal).encode())
    assert ask(server, tmp_path, ["b"])[0]["q-b"].text == "I will not."


def test_the_key_is_sent_and_nowhere_else(server, tmp_path, chat_completion, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    server.plan = lambda handler, body, place: handler.answer(chat_completion(f"key {SECRET}"))
    replies, _ = ask(server, tmp_path, ["a"])
    assert server.asked[0][1]["Authorization"] == f"Bearer {SECRET}"
    assert replies["q-a"].text == "key ***"
    server.plan = lambda handler, body, place: handler.error(401, f"wrong key {SECRET}")
    with pytest.raises(InputError) as caught:
        ask(server, tmp_path, ["b"])
    seen = [str(caught.value), repr(caught.value.__context__), *capfd.readouterr()]
    seen += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(seen) > 4
    assert not [text for text in seen if SECRET in text]


def test_a_damaged_answer_is_named(server, tmp_path):
    ask(server, tmp_path, ["a"])
    (path,) = (tmp_path / "cache").rglob("*.json")
    path.write_text("{")
    with pytest.raises(InputError, match=rf"{path.name} is no stored answer; remove it"):
        ask(server, tmp_path, ["a"])


CHILD = """
import sys
from onevision_jax.endpoint import ChatRequest, EndpointConfig, ReplyCache, complete
requests = [ChatRequest(id=str(i), messages=[{"role": "user", "content": f"t{i}"}])
            for i in range(20)]
config = EndpointConfig(url=sys.argv[1], model="m", concurrency=3)
replies, accounting = complete(requests, config, ReplyCache(sys.argv[2]))
print(sorted((int(name), reply.text) for name, reply in replies.items()))
print(accounting.to_json()["possibly_charged_twice"])
"""


def stored(folder):
    return [
        p for p in folder.rglob("*.json") if not p.name.startswith(".") and "sent" not in p.name
    ]


def test_kills_lose_nothing_that_arrived(server, tmp_path, chat_completion):
    def slow(handler, body, place):
        time.sleep(0.08)
        handler.answer(chat_completion(body["messages"][0]["content"].upper()))

    server.plan = slow
    command = [sys.executable, "-c", CHILD, server.url, str(tmp_path)]
    kills = []  # the answers on disk, and how many requests had been sent
    for wanted in (3, 8, 13):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while len(stored(tmp_path)) < wanted:
            assert child.poll() is None
            time.sleep(0.002)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        kept = {json.loads(p.read_text())["reply"]["text"].lower() for p in stored(tmp_path)}
        assert len(kept) >= wanted
        kills.append((kept, len(server.asked)))
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    for kept, sends in kills:
        assert kept.isdisjoint(server.texts()[sends:]), "sent again though its answer was there"
    assert out[0] == str([(i, f"T{i}") for i in range(20)])
    # Sent again were only those under way at a kill, three at a time; a kill between a mark and its
    # send leaves a mark without one.
    assert 20 <= len(server.asked) <= 20 + int(out[1]) <= 20 + 9
