"""The object store over the wire: as much of S3 as Daymark asks for, with the settings that operate.md names."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from services.snapshotter.samples import Bucket, BucketError, Place, bundle, open_bucket, unpack

SERIES = [np.arange(1440.0), np.sqrt(np.arange(1440.0)), np.zeros(1440)]


class S3(BaseHTTPRequestHandler):
    """One bucket, `samples`, for the key id `ours`; whoever shows another is refused."""

    objects: dict[str, bytes]
    ranges: list[str]

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"ETag": '"1"', "Last-Modified": "Tue, 24 Nov 2026 00:00:00 GMT", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes | None:
        """What was sent, if the caller may; answers otherwise."""
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "Credential=ours/" not in self.headers.get("Authorization", ""):
            self._answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
            return None
        if not self.path.startswith("/samples"):
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            return None
        return sent

    def do_PUT(self) -> None:
        if (sent := self._body()) is not None:
            self.objects[self.path] = sent
            self._answer(200)

    def do_GET(self) -> None:
        if self._body() is None:
            return
        if self.path not in self.objects:
            self._answer(404)
            return
        whole, asked = self.objects[self.path], self.headers["Range"]
        self.ranges.append(asked)
        first, last = (int(each) for each in re.findall(r"\d+", asked))
        self._answer(206, whole[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(whole)}")

    def do_POST(self) -> None:
        if (sent := self._body()) is not None:
            keys = re.findall("<Key>(.*?)</Key>", sent.decode())
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            for key in keys:
                self.objects.pop(f"/samples/{key}", None)
            self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[S3]]:
    S3.objects, S3.ranges = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), S3)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "ours",
        "AWS_SECRET_ACCESS_KEY": "quite-secret",
    }.items():
        monkeypatch.setenv(name, value)
    yield S3
    server.shutdown()
    server.server_close()


async def test_samples_lie_in_s3_and_one_series_is_read_without_the_others(s3: type[S3]) -> None:
    bucket = open_bucket("s3://samples/epl")
    made = await bucket.put(bundle(SERIES))
    assert await bucket.put(bundle(SERIES)) == made  # a repeat is harmless
    assert list(s3.objects) == [f"/samples/epl/{made.key}"] and made.key == Bucket.key_of(made)
    place = made.places[1]
    assert place is not None
    (part,) = await bucket.read(made.key, [place])
    assert unpack(part, 1440).tobytes() == SERIES[1].tobytes()
    assert s3.ranges == [f"bytes={place.first}-{place.first + place.length - 1}"]
    for _ in range(2):  # one that is gone is gone
        await bucket.delete(made.key)
    assert s3.objects == {}
    with pytest.raises(BucketError, match="has no such object"):
        await bucket.read(made.key, [place])


@pytest.mark.parametrize(
    ("url", "setting", "value", "said"),
    [
        ("s3://samples", "AWS_ACCESS_KEY_ID", "theirs", "does not accept our credentials, or they may not do this"),
        ("s3://others", "AWS_REGION", "eu-central-1", "has no such object, or no such bucket"),
        ("s3://samples", "AWS_ALLOW_HTTP", "false", "has an address that is not https, and nothing allows that"),
    ],
)
async def test_each_refusal_of_an_object_store_is_its_own_answer_and_tells_no_secret(
    s3: type[S3], monkeypatch: pytest.MonkeyPatch, url: str, setting: str, value: str, said: str
) -> None:
    monkeypatch.setenv(setting, value)
    bucket, made = open_bucket(url), bundle(SERIES)
    for asked in (bucket.put(made), bucket.read("samples/ab/abcd", [Place("abcd", 0, 9)])):
        with pytest.raises(BucketError, match=said) as refused:
            await asked
        assert not any(word in str(refused.value) for word in ("secret", "ours", "theirs", "127.0.0.1"))
    assert s3.objects == {}
