"""Photos in S3, by moto's server on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from carspotter.errors import EXIT_FAULT, EXIT_SOME_REFUSED
from helpers.absent import absent
from helpers.lots import photos, put_manifest, read_parts
from helpers.tiny import write_tiny_bundle

SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
FILL = """
import sys, s3fs
from pathlib import Path
store = s3fs.S3FileSystem()
store.mkdir("lot")
for path in Path(sys.argv[1]).iterdir():
    store.pipe(f"lot/in/{path.name}", path.read_bytes())
store.touch("lot/in/empty.png")
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment of a machine with S3: an address and credentials."""
    found = subprocess.run([sys.executable, "-c", "import moto.server, s3fs"], check=False, capture_output=True)
    if found.returncode:
        absent("no moto or no s3fs; pip install 'moto[server]' 'carspotter[s3]'", "CARSPOTTER_REQUIRE_SERVERS")
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVE], **streams) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield address
        server.communicate(timeout=30)


def carspotter(*words: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "carspotter", *map(str, words)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600
    )
    return done.returncode, done.stdout


@pytest.mark.slow
def test_photos_in_s3_are_answered_as_those_on_disk(s3: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in photos().items():
        (folder / name).write_bytes(data)
    subprocess.run([sys.executable, "-c", FILL, str(folder)], check=True, timeout=600)
    (folder / "empty.png").touch()
    write_tiny_bundle(tmp_path / "tiny")
    names = ["red.png", "green.png", "blue.png", "broken.png", "empty.png", "gone.png"]
    put_manifest(tmp_path / "disk.parquet", [f"photos/{name}" for name in names], 100)
    put_manifest(tmp_path / "s3.parquet", [f"s3://lot/in/{name}" for name in names], 100)
    for kind in ("disk", "s3"):
        words = ("batch", tmp_path / "tiny", tmp_path / f"{kind}.parquet", "-o", tmp_path / kind, "--chunk", "30")
        code, said = carspotter(*words)
        assert code == EXIT_SOME_REFUSED, said
    on_disk, in_s3 = (read_parts(tmp_path / kind) for kind in ("disk", "s3"))
    assert in_s3.drop_columns("reason").equals(on_disk.drop_columns("reason"))
    codes = [
        [str(reason).partition(":")[0] for reason in table.column("reason").to_pylist()] for table in (on_disk, in_s3)
    ]
    assert codes[0] == codes[1]
    assert codes[1][3:6] == ["not_a_photo", "empty", "missing"]


@pytest.mark.slow
def test_a_store_that_went_away_stops_the_batch(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than answering that every photo is bad."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    write_tiny_bundle(tmp_path / "tiny")
    put_manifest(tmp_path / "m.parquet", ["s3://lot/in/red.png"], 6)
    code, said = carspotter("batch", tmp_path / "tiny", tmp_path / "m.parquet", "-o", tmp_path / "out", "--chunk", "3")
    assert code == EXIT_FAULT
    assert "error: 3 photos in a row up to car 2 could not be had (unreachable: the store does not give it (" in said
    assert list((tmp_path / "out").glob("part-*")) == []


class Expired(BaseHTTPRequestHandler):
    """What S3 says to a token that has expired."""

    def do_GET(self) -> None:
        text = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
        self.send_response(400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_an_expired_token_stops_the_batch(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no property of the photos."""
    write_tiny_bundle(tmp_path / "tiny")
    put_manifest(tmp_path / "m.parquet", ["s3://lot/in/red.png"], 6)
    with ThreadingHTTPServer(("127.0.0.1", 0), Expired) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        code, said = carspotter(
            "batch", tmp_path / "tiny", tmp_path / "m.parquet", "-o", tmp_path / "out", "--chunk", "3"
        )
        server.shutdown()
        thread.join()
    assert code == EXIT_FAULT
    assert "3 photos in a row up to car 2 could not be had (not_allowed: the store does not allow it; check the" in said
    assert list((tmp_path / "out").glob("part-*")) == []
