"""Requests that the description of the API allows: never a fault of ours, always the shape that it promises."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from tests.apps.serving.conftest import Running

EXAMPLES = 25
"""Requests per route; each takes a round trip and perhaps a photo."""


@pytest.mark.slow
def test_no_request_is_our_fault(running: Running) -> None:
    seen: dict[str, set[int]] = {}
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def ask(case: schemathesis.Case) -> None:
            response = case.call(timeout=30)
            seen.setdefault(case.path, set()).add(response.status_code)
            assert response.status_code < 500, (response.status_code, response.text)
            if response.status_code >= 400:
                assert set(response.json()["error"]) == {"code", "sentence"}

        ask()
    assert set(seen) == {"/v1/identify", "/v1/listings/check", "/v1/models", "/healthz", "/readyz", "/metrics"}
    assert 200 in seen["/v1/models"]
