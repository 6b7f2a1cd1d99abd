"""A server under load: what admitted requests wait, how fast the others are refused, and whether it stays awake.

    python benchmarks/serving.py models/cars photo.jpg

On 127.0.0.1, the server with one worker on one core and this client on another one, so that neither takes the other's
time (with one core alone the figures say little, and it is said). One photo a request, a new connection each. First one
request after another, with pauses; then as many as the server takes, with several clients who ask again as soon as
they are answered or refused; then an open loop (arrivals do not wait for answers) at `--times` as many, during which
`/healthz` is asked five times a second; all of it `--repeat` times. Times run from when a request was due. The goals:
admitted p99 at most twice the idle one, refusals within 100 ms, `/healthz` within 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

IDLE, WARM = 150, 20
SECONDS = 20.0
CLIENTS, AGAIN = 2, 0.01
"""Clients that keep one worker full, and seconds after which one that was refused asks again. More clients, or shorter
pauses, and refusals take the time that is to be measured."""
BOUNDARY = "carspotter"
Reply = tuple[int, float]
"""Status, and seconds from when the request was due; status 0 where the connection failed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--times", type=float, default=5.0, help="arrivals, as a multiple of what the server takes")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})  # the server inherits it
    command = [sys.executable, "-m", "carspotter", "serve", str(options.model), "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        os.sched_setaffinity(0, {cores[0]})
        if len(cores) == 1:
            print("client and server share one core")
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if not found:
                raise SystemExit(f"the server did not start: {line}")
            asyncio.run(measure(int(found[1]), request(options.photo.read_bytes()), options.times, options.repeat))
        finally:
            server.terminate()


def request(photo: bytes) -> bytes:
    """One form with one photo, ready to send."""
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'.encode()
        + photo
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )
    head = (
        f"POST /v1/identify HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    return head.encode() + body


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


async def ask(port: int, sent: bytes, due: float | None = None) -> Reply:
    began = time.perf_counter() if due is None else due
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        said = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        status = int(said.split(b" ", 2)[1]) if said else 0
    except (OSError, TimeoutError):
        status = 0
    return status, time.perf_counter() - began


async def measure(port: int, sent: bytes, times: float, repeats: int) -> None:
    while (await ask(port, READY))[0] != 200:
        await asyncio.sleep(0.2)
    for _ in range(WARM):
        await ask(port, sent)
    rounds = []
    for seed in range(repeats):
        print(f"round {seed + 1} of {repeats}; load average {os.getloadavg()[0]:.1f}")
        rounds.append(await one_round(port, sent, times, seed))
    print(f"\n{'':42} {'min':>7} {'median':>7} {'max':>7}")
    for name in rounds[0]:
        low, mid, high = np.quantile([one[name] for one in rounds], (0, 0.5, 1))
        print(f"{name:42} {low:7.2f} {mid:7.2f} {high:7.2f}")


async def one_round(port: int, sent: bytes, times: float, seed: int) -> dict[str, float]:
    """Idle, full and flooded; what the goals are about."""
    idle = []
    for _ in range(IDLE):
        idle.append(await ask(port, sent))
        await asyncio.sleep(0.01)
    show("idle, one at a time", idle)
    most = await capacity(port, sent)
    print(f"{'as many as it takes':34} {most:.1f} a second")
    replies, health = await flood(port, sent, most * times, seed)
    admitted, refused = ([one for one in replies if one[0] == status] for status in (200, 503))
    show(f"{times:g} times as many: admitted", admitted)
    show(f"{times:g} times as many: refused (503)", refused)
    print(f"{'other replies':34} {len(replies) - len(admitted) - len(refused)} of {len(replies)}")
    show("/healthz meanwhile", health)
    return {
        "idle p50, ms": late(idle, 0.5),
        "idle p99, ms": late(idle, 0.99),
        "taken at most, a second": most,
        "admitted, a second": len(admitted) / SECONDS,
        "admitted p50, ms": late(admitted, 0.5),
        "admitted p99, ms": late(admitted, 0.99),
        "admitted p99, times the idle one": late(admitted, 0.99) / late(idle, 0.99),
        "refused p99, ms": late(refused, 0.99),
        "refused max, ms": late(refused, 1),
        "/healthz max, ms": late(health, 1),
    }


async def capacity(port: int, sent: bytes, seconds: float = 8.0) -> float:
    """Answers a second where somebody always asks: several clients, who ask again when they are refused."""
    until, done = time.perf_counter() + seconds, 0

    async def again() -> None:
        nonlocal done
        while time.perf_counter() < until:
            if (await ask(port, sent))[0] == 200:
                done += 1
            else:
                await asyncio.sleep(AGAIN)

    began = time.perf_counter()
    await asyncio.gather(*(again() for _ in range(CLIENTS)))
    return done / (time.perf_counter() - began)


async def flood(port: int, sent: bytes, rate: float, seed: int) -> tuple[list[Reply], list[Reply]]:
    """Arrivals at random moments (a Poisson process), whatever becomes of the others."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * SECONDS))
    start = time.perf_counter() + 0.1
    health = asyncio.create_task(beat(port, start + float(gaps.sum())))
    asked = [asyncio.create_task(at(port, sent, start + due)) for due in np.cumsum(gaps).tolist()]
    return list(await asyncio.gather(*asked)), await health


async def at(port: int, sent: bytes, due: float) -> Reply:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return await ask(port, sent, due)


async def beat(port: int, until: float) -> list[Reply]:
    found = []
    while time.perf_counter() < until:
        found.append(await ask(port, HEALTH))
        await asyncio.sleep(0.2)
    return found


def late(replies: Sequence[Reply], share: float) -> float:
    """Milliseconds within which such a share was answered; nan where there is no reply."""
    return 1e3 * float(np.quantile([seconds for _, seconds in replies], share)) if replies else float("nan")


def show(name: str, replies: Sequence[Reply]) -> None:
    low, mid, high, worst = (late(replies, share) for share in (0, 0.5, 0.99, 1))
    print(f"{name:34} {len(replies):5}  min {low:.0f}  p50 {mid:.0f}  p99 {high:.0f}  max {worst:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
