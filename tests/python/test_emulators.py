"""The emulated servers give their answers the shape that the recorded ones of the real servers have."""

import pytest
from emulated import LIST, cases, differences, emulated, recorded

CASES = [
    pytest.param(name, file, id=f"{name}-{file.stem}")
    for name, folder in LIST["servers"].items()
    for file in cases(folder)
]


@pytest.mark.parametrize(("name", "file"), CASES)
def test_the_shape_is_that_of_the_real_answer(name, file):
    request, real = recorded(file)
    found = differences(real, emulated(name, LIST["models"].get(name, "tiny"), file.stem, request, real))
    if LIST["differences"].get(name, {}).get(file.stem):
        assert found, "listed as different, and is not"
    else:
        assert not found, "\n".join(found)
