"""Batches on Ray: one that starts here, and a cluster of two nodes, one of which dies."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from carspotter.apps.batch.order import Order
from carspotter.apps.batch.ray_engine import ACTOR_BYTES, ALONE, LIVES, Maker, _living, _room
from carspotter.apps.batch.run import place_order
from carspotter.apps.cli import main
from carspotter.errors import EXIT_FAULT, EXIT_SOME_REFUSED, EXIT_UNUSABLE
from helpers.absent import absent
from helpers.lots import PHOTOS, put_crashing_decoder, put_lot, put_manifest, read_parts

CLUSTER = Path(__file__).with_name("cluster.py")


@pytest.fixture(scope="module")
def needs_ray() -> None:
    """Skip where it is not installed."""
    found = subprocess.run([sys.executable, "-c", "import ray.data"], check=False, capture_output=True, text=True)
    if found.returncode:
        absent(f"no Ray ({found.stderr.splitlines()[-1]}); pip install 'carspotter[ray]'", "CARSPOTTER_REQUIRE_SERVERS")


@pytest.fixture
def cluster(needs_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Two nodes of one core each, and the address of the first."""
    monkeypatch.setenv(ALONE, "0")
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(CLUSTER)], **streams) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("127.0.0.1:"), "the cluster did not start"
        yield process, address
        process.communicate(timeout=60)


def words(lot: Path, out: str, chunk: int) -> list[str]:
    return ["batch", str(lot / "tiny"), str(lot / "m.parquet"), "-o", str(lot / out), "--chunk", str(chunk)]


def carspotter(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "carspotter", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ray")
def test_both_engines_give_the_same_bytes_and_go_on_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a photo that ends the process which decodes it."""
    lot = put_lot(tmp_path, rows=95)
    uris = [PHOTOS[at % len(PHOTOS)] for at in range(95)]
    put_manifest(lot / "m.parquet", [*uris[:42], "crash.bmp", *uris[43:]], 95)
    hooked(put_crashing_decoder(lot), monkeypatch)
    assert main(words(lot, "local", 10)) == EXIT_SOME_REFUSED
    ray = carspotter(*words(lot, "ray", 10), "--ray", "local")
    said = ray.communicate(timeout=600)[0]
    assert ray.returncode == EXIT_SOME_REFUSED, said
    lines = [line.partition(";")[0] for line in said.splitlines()]
    assert [line for line in lines if not line.startswith("parts: ")] == [
        f"{lot / 'ray'}: 95 answers: 56 named, 39 bad_photo",
        "39 of 95 photos were refused",
    ]
    assert parts(lot / "ray") == parts(lot / "local")
    (lot / "ray" / "part-00004.parquet").unlink()
    assert main(words(lot, "ray", 10)) == EXIT_SOME_REFUSED
    assert parts(lot / "ray") == parts(lot / "local")


def hooked(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a folder at the beginning of the module path of this process and of those that are started."""
    monkeypatch.syspath_prepend(hook)
    monkeypatch.setenv("PYTHONPATH", hook, prepend=os.pathsep)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ray")
def test_an_actor_that_dies_again_and_again_of_one_part_ends_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself would begin the part anew without end."""
    lot = put_lot(tmp_path, rows=3)
    put_manifest(lot / "m.parquet", ["red.png", "crash.bmp"], 4)
    hooked(put_crashing_decoder(lot, victim="os.getppid()"), monkeypatch)
    ray = carspotter(*words(lot, "out", 4), "--ray", "local")
    said = ray.communicate(timeout=900)[0]
    assert ray.returncode == EXIT_FAULT, said
    assert f"part-00000.parquet was begun {LIVES} times, and the process that made it died each time" in said
    assert list((lot / "out").glob("part-*")) == []


@pytest.mark.slow
def test_a_node_that_dies_in_mid_run_costs_no_row(tmp_path: Path, cluster: tuple[subprocess.Popen[str], str]) -> None:
    lot, (nodes, address) = put_lot(tmp_path, rows=1500, large=True), cluster
    run = carspotter(*words(lot, "out", 25), "--ray", address)
    until = time.monotonic() + 600
    while time.monotonic() < until and run.poll() is None and len(list((lot / "out").glob("part-*"))) < 6:
        time.sleep(0.02)
    assert nodes.stdin is not None
    assert nodes.stdout is not None
    nodes.stdin.write("kill\n")
    nodes.stdin.flush()
    actors = int(nodes.stdout.readline())
    there = len(list((lot / "out").glob("part-*")))
    said = run.communicate(timeout=600)[0]
    assert run.returncode == EXIT_SOME_REFUSED, said
    assert actors >= 1  # the node that died was at work
    assert there < 60  # and so was the batch
    assert read_parts(lot / "out").column("id").to_pylist() == [f"car {at}" for at in range(1500)]
    assert main(words(lot, "local", 25)) == EXIT_SOME_REFUSED
    assert parts(lot / "out") == parts(lot / "local")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "why"), [("tiny", "is no model folder"), ("out", "is not the folder of this batch on this machine")]
)
def test_a_fault_of_a_node_is_one_line(
    tmp_path: Path, cluster: tuple[subprocess.Popen[str], str], lost: str, why: str
) -> None:
    """The model, or the folder of the parts, is away once it was ordered, as on a disk that is not mounted."""
    lot, (_, address) = put_lot(tmp_path, rows=30), cluster
    script = (
        "import sys, shutil; from pathlib import Path\n"
        "from carspotter.apps.batch.ray_engine import OnRay\n"
        "from carspotter.apps.batch.run import place_order\n"
        "from carspotter.apps.faults import exit_code\n"
        "from carspotter.progress import silent\n"
        "lot = Path(sys.argv[1])\n"
        "order = place_order(lot / 'tiny', lot / 'm.parquet', lot / 'out', chunk_rows=10)\n"
        "shutil.rmtree(lot / sys.argv[3])\n"
        "sys.exit(exit_code(lambda: list(OnRay(sys.argv[2])(order, {0: 10, 1: 10, 2: 10}, silent))))\n"
    )
    command = [sys.executable, "-c", script, str(lot), address, lost]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == EXIT_FAULT, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: a node cannot go on ({platform.node()}): {lot / lost} {why}")
    assert not (lot / lost).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ray")
def test_no_cluster_is_one_line(tmp_path: Path, silent_port: str) -> None:
    lot = put_lot(tmp_path, rows=3)
    for address, why in (
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9 (ConnectionRefusedError: "),
        (silent_port, f"no Ray cluster answers at {silent_port} (ConnectionError: another kind of server is there)"),
        ("127.0.0.1", "--ray takes HOST:PORT, auto or local, not 127.0.0.1"),
        ("127.0.0.1:99999", "--ray takes HOST:PORT, auto or local, not 127.0.0.1:99999"),
        ("auto", "no Ray cluster answers at auto (ConnectionError: "),
    ):
        with carspotter(*words(lot, "out", 2), "--ray", address) as run:
            said = run.communicate(timeout=120)[0]
        assert (run.returncode, len(said.splitlines())) == (EXIT_UNUSABLE, 1), said
        assert why in said


@pytest.fixture
def silent_port() -> Iterator[str]:
    """Where a connection is closed without a word of HTTP/2."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_ray_that_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*words(put_lot(tmp_path, rows=3), "out", 2), "--ray", "local"]) == EXIT_UNUSABLE
    assert 'a cluster needs an optional part: pip install "carspotter[ray]"' in capsys.readouterr().err


def test_a_part_is_begun_a_bounded_number_of_times(tmp_path: Path) -> None:
    """Counted where other machines see it, forgotten when the part is made."""
    lot = put_lot(tmp_path, rows=5)
    order = place_order(lot / "tiny", lot / "m.parquet", lot / "out", chunk_rows=3)
    for _ in range(LIVES):
        with suppress(ZeroDivisionError), _living(order.parts, 0):
            raise ZeroDivisionError  # a death leaves as much behind
    maker = Maker(order)
    assert f"was begun {LIVES} times, and the process that made it died each time" in maker({"chunk": 0})["fault"]
    assert maker({"chunk": 1})["fault"] == ""
    assert order.parts.there() == [1]
    assert [path.name for path in (lot / "out").glob(".begun*")] == [".begun-0.part"]
    maker.close()


def test_as_many_actors_as_have_a_core_and_the_memory() -> None:
    """And at least one, whatever the machine is: an actor that is promised too much would wait without end."""
    large, small, tiny = (
        {"Alive": True, "Resources": {"CPU": 4.0, "memory": memory}} for memory in (2.5 * ACTOR_BYTES, 1e12, 1e8)
    )
    dead = {"Alive": False, "Resources": {"CPU": 64.0, "memory": 1e12}}
    assert _room([large, small, tiny, dead]) == (ACTOR_BYTES, 2 + 4 + 0)
    assert _room([tiny]) == (1e8, 1)
    assert _room([]) == (0.0, 1)


def test_another_version_or_model_is_no_part_of_the_batch(tmp_path: Path) -> None:
    """What a node with another installation says."""
    from dataclasses import replace

    from carspotter.errors import BatchError

    lot = put_lot(tmp_path, rows=3)
    order = place_order(lot / "tiny", lot / "m.parquet", lot / "out", chunk_rows=2)

    def changed(**fields: str) -> Order:
        return replace(order, parts=replace(order.parts, batch=order.parts.batch.model_copy(update=fields)))

    with pytest.raises(BatchError, match="install the same version"):
        changed(carspotter="9").load()
    with pytest.raises(BatchError, match="another model"):
        changed(bundle="0" * 64).load()
    for library in ("pillow", "runtime_version"):
        with pytest.raises(BatchError, match=f"of {library} 9, here it is"):
            changed(**{library: "9"}).load()
    assert order.load(threads=1).threads == 1
