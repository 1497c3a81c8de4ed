"""Writes the tables of providers in README*.md and docs/providers*.md from ``loom.providers()``.

    python docs/providers_table.py           prints the table of docs/providers.md
    python docs/providers_table.py --write   brings the pages up to date

A page marks the place with ``<!-- providers: NAME -->`` and ``<!-- end of providers -->``; NAME is one of ``TABLES``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import loom

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "README.zh-CN.md", "docs/providers.md", "docs/providers.zh.md"]
MARKED = re.compile(r"(<!-- providers: (\w+) -->\n).*?(<!-- end of providers -->)", re.DOTALL)

HEADS = {
    "full": ["Name", "What", "Base URL", "Variables for the key", "Variables for the base URL", "Default model"],
    "full_zh": ["名称", "服务", "base_url", "密钥的环境变量", "地址的环境变量", "默认模型"],
}
WORDS = {
    "full": {"given": "yours, required", "asked": "the one it serves"},
    "full_zh": {"given": "由你给出，必填", "asked": "端点所提供的那一个"},
}


def code(names: list[str]) -> str:
    return " ".join(f"`{name}`" for name in names) or "–"


def full(language: str) -> list[str]:
    """One row per provider, with all that users may want to look up."""
    head, words = HEADS[language], WORDS[language]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for provider in loom.providers():
        aliases = "".join(f"<br>`{alias}`" for alias in provider["aliases"])
        model, base_url = provider["default_model"], provider["base_url"]
        cells = [
            f"**`{provider['name']}`**{aliases}",
            f"[{provider['title']}]({provider['docs']})<br>`{provider['class']}`",
            f"`{base_url}`" if base_url else words["given"],
            code(provider["key_env"]),
            code(provider["base_url_env"]),
            f"`{model}`" if model else words["asked"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def names(rows: list[tuple[str, Callable[[dict], bool]]], head: tuple[str, str]) -> list[str]:
    """The names alone, by kind."""
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    for title, belongs in rows:
        lines.append(f"| {title} | {code([provider['name'] for provider in loom.providers() if belongs(provider)])} |")
    return lines


def is_local(provider: dict) -> bool:
    return provider["local"]


def is_cloud(provider: dict) -> bool:
    return not provider["local"] and provider["base_url"] is not None


def is_yours(provider: dict) -> bool:
    return not provider["local"] and provider["base_url"] is None


TABLES: dict[str, Callable[[], list[str]]] = {
    "full": lambda: full("full"),
    "full_zh": lambda: full("full_zh"),
    "names": lambda: names(
        [
            ("You give the `base_url`", is_yours),
            ("Cloud; a key is needed", is_cloud),
            ("On this machine; no key is needed", is_local),
        ],
        ("Where", "Names"),
    ),
    "names_zh": lambda: names(
        [("由你给出 `base_url`", is_yours), ("云服务，需要密钥", is_cloud), ("本机服务，不需要密钥", is_local)],
        ("位置", "名称"),
    ),
}


def updated(text: str) -> str:
    """A page with its tables as the data has them."""

    def table(match: re.Match[str]) -> str:
        return match[1] + "\n" + "\n".join(TABLES[match[2]]()) + "\n\n" + match[3]

    return MARKED.sub(table, text)


def main() -> None:
    if "--write" not in sys.argv[1:]:
        sys.stdout.write("\n".join(TABLES["full"]()) + "\n")
        return
    for page in PAGES:
        path = ROOT / page
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
