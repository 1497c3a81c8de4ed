"""The saved corpus: a JSON list of inputs for each target, each input a string with a character for each byte.

python3 fuzz/corpus.py unpack TARGET FOLDER
python3 fuzz/corpus.py pack TARGET FOLDER
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def unpack(target: str, folder: Path) -> None:
    file = HERE / "corpus" / f"{target}.json"
    inputs = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    for number, text in enumerate(inputs):
        (folder / f"{number:04}").write_bytes(text.encode("latin-1"))


def pack(target: str, folder: Path) -> None:
    inputs = sorted((path.read_bytes() for path in folder.iterdir()), key=lambda data: (len(data), data))
    lines = ",\n".join(json.dumps(data.decode("latin-1")) for data in inputs)
    (HERE / "corpus" / f"{target}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
