"""The service is as its OpenAPI document says, whatever it is sent; 5,000 requests are in benchmarks/serve/fuzz.py."""

from __future__ import annotations

from tests.postgres import load


def test_every_answer_is_as_the_document_says(server):
    found = load("fuzz").fuzz(server.address, 80)
    assert found["cases"] >= 80
    assert found["server_errors"] == 0
    assert found["first_violations"] == []
    assert server.ask("/readyz").status == 200
    assert set(found["statuses"]) == {
        "/classify", "/v1/chat/completions", "/v1/models", "/v1/models/{name}",
        "/healthz", "/readyz", "/metrics", "/versions",
    }  # fmt: skip
