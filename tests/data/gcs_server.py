"""What gcsfs asks of Google Cloud Storage, answered from memory: objects, listings, uploads.

The JSON interface of https://cloud.google.com/storage/docs/json_api, as far as `test_gcs` needs it.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any


class Handler(http.server.BaseHTTPRequestHandler):
    """One bucket of any name; `objects` holds it."""

    objects: dict[str, bytes]
    refused = ""  # the bytes of names that hold this are answered with 403

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        place = urllib.parse.urlsplit(self.path)
        asked = dict(urllib.parse.parse_qsl(place.query))
        if re.fullmatch(r"/storage/v1/b/\w+/o", place.path):
            self._reply(200, self._listing(asked.get("prefix", ""), "delimiter" in asked))
            return
        found = re.fullmatch(r"(?:/download)?/storage/v1/b/\w+/o/(.+)", place.path)
        name = urllib.parse.unquote(found[1]) if found else ""
        if name not in self.objects:
            self._reply(404, {"error": {"code": 404, "message": "no such object"}})
        elif asked.get("alt") != "media":
            self._reply(200, self._describe(name))
        elif self.refused and self.refused in name:
            self._reply(403, {"error": {"code": 403, "message": "forbidden"}})
        else:
            self._media(self.objects[name])

    def do_POST(self) -> None:
        """An upload in two parts: the object's description, then its bytes."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = re.search(r"boundary=['\"]?([^'\";]+)", self.headers["Content-Type"])
        assert boundary is not None
        _, first, second, _ = re.split(rb"\r?\n?--" + re.escape(boundary[1].encode()), body)
        name = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])["name"]
        self.objects[name] = re.split(rb"\r?\n\r?\n", second, maxsplit=1)[1]
        self._reply(200, self._describe(name))

    def _describe(self, name: str) -> dict[str, str]:
        digest = base64.b64encode(hashlib.md5(self.objects[name]).digest()).decode()
        size = str(len(self.objects[name]))
        return {"name": name, "bucket": "b", "size": size, "md5Hash": digest, "etag": digest}

    def _listing(self, prefix: str, is_flat: bool) -> dict[str, Any]:
        names = sorted(name for name in self.objects if name.startswith(prefix))
        deeper = [name for name in names if is_flat and "/" in name[len(prefix) :]]
        folders = {prefix + name[len(prefix) :].split("/")[0] + "/" for name in deeper}
        items = [self._describe(name) for name in names if name not in deeper]
        return {"items": items, "prefixes": sorted(folders)}

    def _media(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, data)
            return
        start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self._send(
            206, data[start : end + 1], ("Content-Range", f"bytes {start}-{end}/{len(data)}")
        )

    def _reply(self, code: int, value: Any) -> None:
        self._send(code, json.dumps(value).encode(), ("Content-Type", "application/json"))

    def _send(self, code: int, data: bytes, *headers: tuple[str, str]) -> None:
        with contextlib.suppress(ConnectionError):  # gcsfs asks twice and takes the first answer.
            self.send_response(code)
            for name, value in (*headers, ("Content-Length", str(len(data)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)


@contextlib.contextmanager
def serve() -> Iterator[tuple[str, type[Handler]]]:
    """(address, the class that holds the objects) of a server of this process."""
    kind = type("Bucket", (Handler,), {"objects": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", kind
        finally:
            server.shutdown()
            thread.join()
