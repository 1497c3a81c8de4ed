"""The twelve tasks on a real server: what its random model does not do is left to it, and nothing fails."""

from __future__ import annotations

import json
from typing import Any

import record


def test_no_task_fails_and_what_is_sent_is_what_the_table_says(server: Any) -> None:
    result = record.twelve(server.base_url, server.model, server.api_key if server.checks_keys else None)
    failed = {name: outcome for name, outcome in result["tasks"].items() if outcome.startswith("failed")}
    assert not failed
    stored = json.loads(record.RESULTS.read_text(encoding="utf-8"))["real"].get(server.name)
    if stored is not None:
        for form in ("tools", "schema"):
            assert result["forms"][form] == stored["forms"][form]
