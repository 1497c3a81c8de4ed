"""The emulator of the running server's name answers as the server does."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "python"))

from emulated import LIST, cases, differences, emulated, recorded


def test_the_emulator_answers_as_the_server_does(server):
    names = [name for name, folder in LIST["servers"].items() if folder == server.name]
    if not names:
        pytest.skip("this server is not emulated")
    (name,) = names
    report = []
    for file in cases(server.name):
        if file.stem in LIST["differences"].get(name, {}) or file.stem in LIST["live"].get(name, {}):
            continue
        request, _ = recorded(file)
        request.body = request.body.replace(LIST["models"].get(name, server.model), server.model)
        for _ in range(3):  # a random model may say what no script can, such as half a call
            real = request.send(server.base_url)
            found = differences(real, emulated(name, server.model, file.stem, request, real))
            if not found:
                break
        if found:
            report.append(f"{file.stem}: " + "\n  ".join(found))
    assert not report, "\n".join(report)
