"""What a docstring says of a function or class, and of its parameters."""

from __future__ import annotations

import re

_SECTION = re.compile(
    r"^(args|arguments|parameters|params|attributes|(?:keyword|other) (?:args|arguments|parameters)|returns?|yields?"
    r"|raises|examples?|notes?):?\s*$",
    re.IGNORECASE,
)
_PARAMETERS = re.compile(r"arg|param|attr|keyword|other", re.IGNORECASE)
_GOOGLE = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SPHINX = re.compile(r"^[:@](?:param|parameter|arg|argument|key|keyword|ivar|var)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")
_RULE = re.compile(r"^-{3,}\s*$")


def parse_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description and what is said about each parameter, in Google's, Sphinx's, Epydoc's or NumPy's style."""
    summary: list[str] = []
    described: dict[str, str] = {}
    section, current, numpy = "", "", False
    lines = text.splitlines()
    for at, line in enumerate(lines):
        sphinx = _SPHINX.match(line)
        if sphinx:
            section, current, numpy = "params", sphinx[1], False
            described[current] = sphinx[2]
            continue
        if re.match(r"^[:@]\w", line):
            section = "other"
            continue
        heading = _SECTION.match(line)
        underlined = at + 1 < len(lines) and _RULE.match(lines[at + 1]) is not None
        if heading and (line.rstrip().endswith(":") or underlined):
            section = "params" if _PARAMETERS.match(heading[1]) else "other"
            current, numpy = "", underlined
            continue
        if _RULE.match(line):
            continue
        if section and not numpy and line.strip() and not line.startswith((" ", "\t")):
            section = ""  # what stands at the margin again is no part of a section
        if not section:
            summary.append(line)
        elif section == "params":
            entry = (_NUMPY if numpy else _GOOGLE).match(line)
            starts = entry is not None and (not numpy or not line.startswith(" "))
            if starts and entry is not None:
                current = entry[1]
                described[current] = "" if numpy else entry[2]
            elif current and line.strip():
                described[current] = f"{described[current]} {line.strip()}".strip()
    paragraphs = re.split(r"\n\s*\n", "\n".join(summary).strip())
    description = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return description, {name: said for name, said in described.items() if said}
