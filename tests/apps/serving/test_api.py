"""The routes, through a real server."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image
from tests.apps.serving.conftest import Running, wait_until

from carspotter.apps.serving.limits import Limits
from helpers.tiny import colour_photo, write_tiny_bundle

RED, GREEN, BLUE = colour_photo(250, 0, 0), colour_photo(0, 250, 0), colour_photo(0, 0, 250)


def test_every_photo_has_its_answer_in_the_order_sent(running: Running) -> None:
    found = running.post("/v1/identify", ("b.png", BLUE), ("x.png", b"no photo"), ("r.png", RED), ("b.png", BLUE))
    assert found.status_code == 200
    answers = found.json()["answers"]
    assert [(one["id"], one["verdict"], one["label"]) for one in answers] == [
        ("b.png", "named", "blue"),
        ("x.png", "bad_photo", None),
        ("r.png", "named", "red"),
        ("b.png", "named", "blue"),
    ]
    assert list(answers[0]) == [
        "id", "verdict", "label", "probability", "label2", "probability2", "label3", "probability3", "group", "reason",
    ]  # fmt: skip
    assert answers[1]["reason"].startswith("not_a_photo: ")
    assert found.json()["model"] == "tiny"
    assert running.post("/v1/identify", ("r.png", RED), model="other").json()["model"] == "other"


def test_what_was_ignored_in_a_photo_stands_in_its_reason(running: Running) -> None:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, "JPEG", exif=b"Exif\0\0garbage")
    answers = running.post("/v1/identify", ("e.jpg", file.getvalue()), ("r.png", RED)).json()["answers"]
    assert [one["reason"] for one in answers] == ["its EXIF is damaged and was ignored", ""]


def test_a_listing_is_checked(running: Running) -> None:
    def checked(declared: str, *photos: bytes) -> dict[str, object]:
        named = [(f"{at}.png", photo) for at, photo in enumerate(photos)]
        found = running.post("/v1/listings/check", *named, declared=declared)
        assert found.status_code == 200
        return dict(found.json())

    match = checked(" Red ", RED, RED)
    assert (match["verdict"], match["recognised"], match["declared"]) == ("match", "red", "Red")
    assert len(match["answers"]) == 2  # type: ignore[arg-type]
    assert checked("blue", RED)["verdict"] == "mismatch"
    assert checked("lilac", RED)["verdict"] == "cannot tell"
    bad = checked("red", b"no photo")
    assert (bad["verdict"], bad["reason"]) == ("cannot tell", "1 unusable")


def test_models_and_health(running: Running) -> None:
    models = running.get("/v1/models").json()["models"]
    assert [one["name"] for one in models] == ["tiny", "other"]
    assert models[0]["classes"] == ["red", "green", "blue"]
    assert (models[0]["accuracy"], models[0]["calibrated"], models[0]["knows_strangers"]) == (None, False, False)
    assert running.get("/healthz").json() == {"status": "ok"}
    assert running.get("/readyz").json() == {"status": "ok"}
    paths = running.get("/openapi.json").json()["paths"]
    form = paths["/v1/identify"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["photos"]


def test_the_description_loads_nothing_from_elsewhere(running: Running) -> None:
    page = running.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert len(loaded) == 3
    for path in loaded:
        part = running.get(f"/{path}")
        assert part.status_code == 200, path
        assert part.headers["content-type"].startswith(("text/javascript", "text/css"))
        assert part.headers["x-content-type-options"] == "nosniff"
    policy = dict(words.split(" ", 1) for words in page.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert "http" not in page.text
    for path in ("/docs/absent.js", "/docs/../api.py", "/docs/%2e%2e/core.py"):
        assert running.get(path).status_code == 404


def test_what_is_counted(start: Callable[..., Running]) -> None:
    fresh = start()
    fresh.post("/v1/identify", ("r.png", RED), ("x.png", b"no"))
    fresh.get("/nowhere/at/all")
    text = fresh.get("/metrics").text
    assert 'carspotter_photos_total{model="tiny",verdict="named"} 1.0' in text
    assert 'carspotter_photos_total{model="tiny",verdict="bad_photo"} 1.0' in text
    assert 'carspotter_requests_total{route="/v1/identify",status="200"} 1.0' in text
    assert 'carspotter_requests_total{route="other",status="404"} 1.0' in text
    assert "nowhere" not in text


@pytest.mark.parametrize(
    ("files", "fields", "status", "code"),
    [
        ([], {"model": "tiny"}, 400, "no_photos"),
        ([("photos", ("r.png", RED))], {"model": "absent"}, 404, "no_model"),
        ([("photos", ("r.png", RED))], {"modle": "tiny"}, 400, "bad_field"),
        ([("picture", ("r.png", RED))], {}, 400, "bad_field"),
        ([("photos", ("r.png", RED))], {"model": "x" * 300}, 400, "too_long"),
        ([("photos", ("r.png", RED))], {"model": "x" * 3000}, 400, "bad_form"),
        ([("photos", (f"{i}.png", b"x")) for i in range(51)], {}, 413, "too_many"),
    ],
)
def test_a_wrong_form_gets_one_clear_line(
    running: Running, files: list[tuple[str, tuple[str, bytes]]], fields: dict[str, str], status: int, code: str
) -> None:
    whole = files or [("model", (None, fields["model"]))]  # a form without a file has its fields as parts
    found = httpx.post(f"{running.url}/v1/identify", files=whole, data=fields if files else None, timeout=60)
    assert (found.status_code, found.json()["error"]["code"]) == (status, code)
    assert "Traceback" not in found.text
    assert "/" not in found.json()["error"]["sentence"].replace("/v1/models", "").replace("form-data", "")


def test_what_is_no_form(running: Running) -> None:
    for sent in ({"json": {"photos": []}}, {"content": b"x", "headers": {"content-type": "multipart/form-data"}}):
        found = httpx.post(f"{running.url}/v1/identify", timeout=60, **sent)  # type: ignore[arg-type]
        assert found.status_code == 400, found.text
    assert running.post("/v1/listings/check", ("r.png", RED)).json()["error"]["code"] == "no_declared"
    text = httpx.post(f"{running.url}/v1/identify", files={"photos": (None, "not a file")}, timeout=60)
    assert text.json()["error"]["code"] == "bad_field"
    wrong = running.get("/v1/identify")
    assert (wrong.status_code, wrong.headers["allow"], wrong.json()["error"]["code"]) == (405, "POST", "method")
    assert running.get("/v1/nowhere").json()["error"]["code"] == "not_found"


def test_names_of_files_cannot_steer_anything(running: Running) -> None:
    found = running.post("/v1/identify", ("../../\x1b[2J<script>\n.png", RED))
    (answer,) = found.json()["answers"]
    assert answer["label"] == "red"
    assert "\x1b" not in answer["id"]
    assert "\n" not in answer["id"]


def test_long_names_of_files_stay_apart(running: Running) -> None:
    names = [f"{'a' * 150}{at}.png" for at in range(2)]
    found = running.post("/v1/identify", *((name, RED) for name in names))
    assert [answer["id"] for answer in found.json()["answers"]] == names


def test_health_may_be_asked_without_a_body(running: Running) -> None:
    for path in ("/healthz", "/readyz"):
        found = httpx.head(running.url + path, timeout=30)
        assert (found.status_code, found.content) == (200, b"")


def test_the_description_names_every_error_and_the_token(running: Running, start: Callable[..., Running]) -> None:
    described = running.get("/openapi.json").json()
    assert "securitySchemes" not in described["components"]
    assert sorted(described["paths"]["/v1/models"]["get"]["responses"]) == [
        "200", "400", "401", "403", "421", "500", "503",
    ]  # fmt: skip
    guarded = start(token="0123456789abcdef")  # noqa: S106
    assert (
        guarded.get("/docs").status_code == guarded.get("/docs/start.js").status_code == 200
    )  # a browser has none yet
    described = guarded.get("/openapi.json").json()
    assert described["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    asked = {path: "security" in next(iter(one.values())) for path, one in described["paths"].items()}
    assert [path for path, wanted in asked.items() if not wanted] == ["/healthz", "/readyz"]


@pytest.mark.slow
def test_a_photo_that_kills_its_worker_costs_nobody_else_anything(start: Callable[..., Running]) -> None:
    fresh = start(limits=Limits(workers=2, wait=50, photo_seconds=5))
    wait_until(lambda: fresh.api.pool.ready == 2)
    victim, other = fresh.api.pool.pids
    os.kill(victim, signal.SIGKILL)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: fresh.post("/v1/identify", ("r.png", RED)).json()["answers"][0], range(20)))
    assert {one["label"] for one in found} == {"red"}  # who was dead before the photo came is no fault of the photo
    wait_until(lambda: fresh.api.pool.ready == 2)
    assert other in fresh.api.pool.pids
    assert "carspotter_worker_restarts_total 1.0" in fresh.get("/metrics").text


@pytest.mark.slow
def test_a_worker_that_takes_too_long_is_ended(start: Callable[..., Running]) -> None:
    fresh = start(limits=Limits(workers=1, photo_seconds=1.0))
    wait_until(lambda: fresh.api.pool.ready == 1)
    (stopped,) = fresh.api.pool.pids
    os.kill(stopped, signal.SIGSTOP)
    (answer,) = fresh.post("/v1/identify", ("r.png", RED)).json()["answers"]
    assert answer["reason"] == "timeout: it took longer than 1 s; send a smaller copy"
    wait_until(lambda: fresh.api.pool.pids != (stopped,) and fresh.api.pool.ready == 1)
    assert fresh.post("/v1/identify", ("r.png", RED)).json()["answers"][0]["label"] == "red"


@pytest.mark.slow
def test_memory_is_bounded(start: Callable[..., Running]) -> None:
    fresh = start(limits=Limits(workers=1, memory_bytes=100_000_000))
    large = io.BytesIO()
    Image.new("RGB", (6000, 6000), (250, 0, 0)).save(large, "PNG")  # 108 MB when decoded
    answers = fresh.post("/v1/identify", ("large.png", large.getvalue()), ("r.png", RED)).json()["answers"]
    assert (answers[0]["verdict"], answers[0]["reason"][:9]) == ("bad_photo", "too_large")
    assert answers[1]["label"] == "red", answers[1]


@pytest.mark.slow
def test_a_replaced_model_is_served_without_a_lost_request(start: Callable[..., Running], tmp_path: Path) -> None:
    fresh = start(limits=Limits(workers=1, wait=50))
    (folder,) = fresh.folders
    before = fresh.get("/v1/models").json()["models"][0]["hash"]
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(fresh.post, "/v1/identify", ("b.png", BLUE)) for _ in range(30)]
        write_tiny_bundle(folder, ("red", "green", "navy"))
        asked += [threads.submit(fresh.post, "/v1/identify", ("b.png", BLUE)) for _ in range(30)]
        found = [one.result() for one in asked]
    assert {one.status_code for one in found} == {200}
    assert {one.json()["answers"][0]["label"] for one in found} <= {"blue", "navy"}
    wait_until(lambda: fresh.get("/v1/models").json()["models"][0]["hash"] != before, 20)
    assert fresh.post("/v1/identify", ("b.png", BLUE)).json()["answers"][0]["label"] == "navy"
    assert 'carspotter_model_reloads_total{model="tiny"} 1.0' in fresh.get("/metrics").text


@pytest.mark.slow
def test_a_photo_is_not_blamed_for_an_end_from_outside(start: Callable[..., Running]) -> None:
    fresh = start(limits=Limits(workers=2))
    pool = fresh.api.pool
    wait_until(lambda: pool.ready == 2)
    first, second = pool.pids

    def asked_of_stopped_workers(threads: ThreadPoolExecutor) -> Future[httpx.Response]:
        for pid in pool.pids:
            os.kill(pid, signal.SIGSTOP)
        asked = threads.submit(fresh.post, "/v1/identify", ("r.png", RED))
        wait_until(lambda: pool.working == 1)
        return asked

    with ThreadPoolExecutor(1) as threads:
        asked = asked_of_stopped_workers(threads)
        os.kill(first, signal.SIGKILL)  # it has the photo, as the first of those that were free
        os.kill(second, signal.SIGCONT)
        assert asked.result().json()["answers"][0]["label"] == "red"
        wait_until(lambda: pool.ready == 2)

        asked = asked_of_stopped_workers(threads)
        for ended in (2, 3):  # what ends whoever has it is to blame
            wait_until(lambda: pool.working == 1)
            (holder,) = (hand.pid for hand in pool._began)
            os.kill(holder, signal.SIGKILL)
            said = f"carspotter_worker_restarts_total {ended}.0"
            wait_until(lambda: said in fresh.get("/metrics").text)  # noqa: B023 - asked at once
        (answer,) = asked.result().json()["answers"]
        assert answer["reason"] == "crashed: reading it ended 2 worker processes; send another copy"
        wait_until(lambda: pool.ready == 2)
