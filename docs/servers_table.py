"""Writes the table of docs/servers*.md from tests/servers/twelve.json: what each server did in the twelve tasks.

python docs/servers_table.py           prints the table
python docs/servers_table.py --write   brings the pages up to date
"""

# ruff: noqa: T201 (a program: it prints)
from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "tests" / "servers" / "twelve.json"
PAGES = {"docs/servers.md": "en", "docs/servers.zh.md": "zh"}
MARKED = re.compile(r"(<!-- servers: (\w+) -->\n).*?(<!-- end of servers -->)", re.DOTALL)

#: The columns that hold a form, as the script names them.
FORMS = ["tools", "two tools", "required", "json_object", "schema", "schema_with_tools"]
HEADS = {
    "en": ["Server", "Passed", "Tools", "Two calls", "Required", "JSON object", "Schema", "Schema and tools"],
    "zh": ["服务端", "通过", "工具", "两次调用", "必须调用", "JSON 对象", "模式", "模式加工具"],
}
KINDS = {"en": {"real": "Real servers", "emulated": "Emulated"}, "zh": {"real": "真实服务端", "emulated": "模拟"}}


def row(name: str, result: dict[str, Any]) -> str:
    outcomes = list(result["tasks"].values())
    passed = outcomes.count("passed")
    cells = [
        f"`{name}`",
        str(passed),
        *(result["forms"].get(form, "–").replace(", after the tools", " ⟶") for form in FORMS),
    ]
    return "| " + " | ".join(cells) + " |"


def table(language: str) -> str:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    lines = ["| " + " | ".join(HEADS[language]) + " |", "|---" * len(HEADS[language]) + "|"]
    for kind, title in KINDS[language].items():
        lines.append(f"| **{title}** |" + " |" * (len(HEADS[language]) - 1))
        lines += [row(name, result) for name, result in results[kind].items()]
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """A page with its table as it should be."""
    return MARKED.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        print(table("en"))
        return
    for page in PAGES:
        path = ROOT / page
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
