"""The twelve tasks on every emulated server, and the pages that say how each was done."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = script(ROOT / "tests" / "servers" / "record.py")
RESULTS = json.loads(record.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", record.emulators())
def test_the_twelve_tasks_pass_and_are_done_as_the_table_says(name):
    result = record.emulated(name)
    assert set(result["tasks"].values()) == {"passed"}, result["tasks"]
    assert len(result["tasks"]) == 12 and result["obeys"]
    assert record.kept(result) == RESULTS["emulated"][name], "python tests/servers/record.py"


def test_no_task_has_failed_on_a_real_server():
    assert {"vllm", "vllm-no-tools", "llama-server", "llama-cpp-python", "fastchat", "litellm"} <= set(RESULTS["real"])
    for name, result in RESULTS["real"].items():
        assert set(result["tasks"].values()) <= {"passed", "model"}, name


def test_the_pages_hold_the_table():
    table = script(ROOT / "docs" / "servers_table.py")
    for page in table.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert text == table.updated(text), f"{page}: python docs/servers_table.py --write"
