"""The results as tables and as a plot."""

from __future__ import annotations

import math
from typing import Any

import targets
from cases import CASES, FLOOR


def text(result: dict[str, Any]) -> str:
    """Everything, in Markdown."""
    machine = result["machine"]
    lines = [
        f"{machine['cores']} cores ({machine['cpu']}), {machine['system']}, Python {machine['python']},"
        f" {machine['rustc']}; medians of {result['rounds']} rounds.",
        "",
    ]
    for language, releases in result["versions"].items():
        if releases and language in result["cases"]:
            shown = ", ".join(f"{'reqwest' if name == 'bare' else name} {number}" for name, number in releases.items())
            lines += [f"{language.capitalize()}: {shown}.", ""]
    for language, cases in result["cases"].items():
        lines += _language(language, cases)
    if "imports" in result:
        lines += [
            "### Python: import",
            "",
            "| | CPU over bare Python, ms | memory over it, MiB | installed, MiB |",
            "|---|---|---|---|",
        ]
        for peer, row in result["imports"].items():
            size = result["sizes"][peer]["installed_mib"]
            lines.append(f"| {peer} | {row['cpu_ms']:.0f} | {row['memory_mib']:.1f} | {size:.1f} |")
        own = result["sizes"].get("loom", {})
        lines.append("")
        if "wheel_mib" in own:
            binary = f", its command line program {own['binary_mib']:.1f} MiB" if "binary_mib" in own else ""
            lines += [f"Loom's wheel: {own['wheel_mib']:.1f} MiB{binary}.", ""]
    lines += targets.table(result)
    lines += _mock(result["cases"])
    return "\n".join(lines) + "\n"


def _language(language: str, cases: dict[str, Any]) -> list[str]:
    """One table of CPU time: a row for each case, a column for each peer, its ratio to Loom below the time."""
    known = {case.name: case for case in CASES}
    peers = list(dict.fromkeys(peer for rows in cases.values() for peer in rows))
    floor = FLOOR[language]
    order = [
        *(peer for peer in (floor, "loom") if peer in peers),
        *(peer for peer in peers if peer not in (floor, "loom")),
    ]
    lines = [f"### {language.capitalize()}: CPU time of the client in µs; in brackets how many times Loom's", ""]
    lines += ["| | " + " | ".join(_named(peer, floor) for peer in order) + " |", "|---" * (len(order) + 1) + "|"]
    for name, rows in cases.items():
        case = known[name]
        if name != "ttft":
            cells = (_cell(rows, peer, "cpu_us") for peer in order)
            lines.append(f"| {case.title}, per {case.per} | " + " | ".join(cells) + " |")
    lines += ["", f"### {language.capitalize()}: wall time in µs", ""]
    lines += ["| | " + " | ".join(_named(peer, floor) for peer in order) + " |", "|---" * (len(order) + 1) + "|"]
    for name, rows in cases.items():
        if not known[name].timed:
            cells = (_cell(rows, peer, "wall_us") for peer in order)
            lines.append(f"| {known[name].title}, per {known[name].per} | " + " | ".join(cells) + " |")
    for name, rows in cases.items():
        if known[name].memory:
            shown = ", ".join(f"{peer} {row['memory_kib']:.1f}" for peer, row in rows.items() if "failed" not in row)
            lines += ["", f"Memory per stream, {known[name].title}, KiB: {shown}."]
        if name == "ttft":
            shown = ", ".join(
                f"{peer} {row['first_p50_ms'] - 100:.2f} / {row['first_p99_ms'] - 100:.2f}"
                for peer, row in rows.items()
                if "failed" not in row
            )
            lines += ["", f"First token, {known[name].title}, ms after the server sent it, p50 / p99: {shown}."]
    big = [(name, rows) for name, rows in cases.items() if name in ("prompt", "history")]
    for name, rows in big:
        shown = ", ".join(
            f"{peer} {(row['peak_kib'] - row['resident_kib']) / 1024:.1f} (peak {row['peak_kib'] / 1024:.0f})"
            for peer, row in rows.items()
            if "failed" not in row
        )
        lines += ["", f"Memory, {known[name].title}, MiB above what the process had before: {shown}."]
    return [*lines, ""]


def _named(peer: str, floor: str) -> str:
    shown = "reqwest" if peer == "bare" else peer
    return f"{shown} (bytes only)" if peer == floor else shown


def _cell(rows: dict[str, Any], peer: str, key: str) -> str:
    row = rows.get(peer)
    if row is None:
        return "–"
    if "failed" in row:
        return row["failed"]
    loom = rows.get("loom", {}).get(key)
    if not loom or peer == "loom":
        return _number(row[key])
    ratio = row[key] / loom
    return f"{_number(row[key])} ({ratio:,.0f}×)" if ratio >= 10 else f"{_number(row[key])} ({ratio:.1f}×)"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _mock(cases: dict[str, Any]) -> list[str]:
    """How busy the mock server was: what is not busy does not hold anybody up."""
    shares = [
        (row["mock_share"], language, name, peer)
        for language, found in cases.items()
        for name, rows in found.items()
        for peer, row in rows.items()
        if "failed" not in row
    ]
    if not shares:
        return []
    lines = ["### The mock server's share of a core while it served", ""]
    for language, found in cases.items():
        for peer in dict.fromkeys(peer for rows in found.values() for peer in rows):
            own = sorted(share for share, of, _, who in shares if of == language and who == peer)
            lines.append(f"- {language} {peer}: median {own[len(own) // 2]:.0%}, most {own[-1]:.0%}")
    return [*lines, ""]


#: What the plot shows: title, language, case.
PANELS = [
    ("Python: µs of CPU per streamed delta", "python", "each"),
    ("Python: µs of CPU per whole answer", "python", "whole"),
    ("Python: µs of CPU per agent run with one tool call", "python", "agent-1"),
    ("Python: ms of CPU for the import", "imports", "cpu_ms"),
    ("Rust: µs of CPU per streamed delta", "rust", "each"),
    ("Rust: µs of CPU per whole answer", "rust", "whole"),
]


def plot(result: dict[str, Any]) -> str:
    """Bars on a logarithmic scale, as SVG. The grey bar is the bare HTTP client, which decodes nothing."""
    parts: list[str] = []
    y = 10
    for title, language, name in PANELS:
        if language == "imports":
            values = {peer: max(row[name], 0.1) for peer, row in result.get("imports", {}).items()}
        else:
            rows = result["cases"].get(language, {}).get(name, {})
            values = {peer: row["cpu_us"] for peer, row in rows.items() if "failed" not in row}
        if not values:
            continue
        low = math.log10(min(values.values())) - 0.3
        scale = 430 / (math.log10(max(values.values())) - low)
        parts.append(f'<text x="10" y="{y + 14}" font-weight="bold">{title}</text>')
        y += 24
        for peer, value in sorted(values.items(), key=lambda item: item[1]):
            colour = "#2f6fde" if peer == "loom" else "#b8bec8" if peer in FLOOR.values() else "#d98b3a"
            width = (math.log10(value) - low) * scale
            shown = "reqwest (bytes only)" if peer == "bare" else peer
            parts.append(f'<text x="150" y="{y + 12}" text-anchor="end">{shown}</text>')
            parts.append(f'<rect x="158" y="{y}" width="{width:.1f}" height="16" fill="{colour}"/>')
            parts.append(f'<text x="{164 + width:.1f}" y="{y + 12}">{_number(value)}</text>')
            y += 20
        y += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {y}" width="660" height="{y}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="660" height="{y}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
