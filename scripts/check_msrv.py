"""Checks that no dependency needs a newer Rust than the workspace states."""

from __future__ import annotations

import json
import subprocess
import sys


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in [*text.split("."), "0", "0"][:3])


def main() -> int:
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    members = set(metadata["workspace_members"])
    stated = {package["rust_version"] for package in metadata["packages"] if package["id"] in members}
    if len(stated) != 1 or None in stated:
        sys.exit(f"the members of the workspace state different versions of Rust: {stated}")
    (limit,) = stated
    newer = [
        f"{package['name']} {package['version']} needs {package['rust_version']}"
        for package in metadata["packages"]
        if package["rust_version"] and version(package["rust_version"]) > version(limit)
    ]
    if newer:
        sys.exit(f"the workspace states Rust {limit}, but:\n" + "\n".join(newer))
    sys.stdout.write(f"all {len(metadata['packages'])} packages build with Rust {limit}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
