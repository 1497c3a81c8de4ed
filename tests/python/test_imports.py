"""`import loom, Message, tool`, and that importing costs nothing. Each test in a process of its own."""

import pytest
from conftest import output, python

# ---- The finder of last resort


def test_the_page_s_import(tmp_path):
    source = """
import loom, Message, tool
assert Message is loom.Message and tool is loom.tool
print(Message(role="user", content="hi").content)
"""
    assert output(source, tmp_path) == "hi\n"


@pytest.mark.parametrize("line", ["import loom, Message", "import loom; import tool", "import loom.builtin, Message"])
def test_other_ways_to_write_it(tmp_path, line):
    assert output(line, tmp_path) == ""


@pytest.mark.parametrize("name", ["Message", "tool"])
def test_the_names_need_loom(tmp_path, name):
    assert "ModuleNotFoundError" in python(f"import {name}", tmp_path).stderr


@pytest.mark.parametrize("name", ["Message", "tool"])
def test_a_module_that_does_not_use_loom_does_not_get_them(tmp_path, name):
    (tmp_path / "stranger.py").write_text(f"import {name}\n")
    done = python("import loom, stranger", tmp_path)
    assert done.returncode == 1 and f"No module named '{name}'" in done.stderr


@pytest.mark.parametrize("name", ["Message", "tool"])
@pytest.mark.parametrize("package", [False, True], ids=["module", "package"])
def test_a_real_module_of_the_name_wins(tmp_path, name, package):
    file = tmp_path / name / "__init__.py" if package else tmp_path / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("real = True\n")
    assert output(f"import loom, {name}; print({name}.real)", tmp_path) == "True\n"
    assert output(f"import {name}, loom; print({name}.real)", tmp_path) == "True\n"


def test_the_finder_is_the_last_and_the_only_one(tmp_path):
    source = """
import sys
before = list(sys.meta_path)
import loom
assert sys.meta_path[:-1] == before, sys.meta_path
import importlib; importlib.reload(loom)
assert len(sys.meta_path) == len(before) + 1
"""
    assert output(source, tmp_path) == ""


@pytest.mark.parametrize("name", ["messages", "Message.part", "Agent", "LLM", "tools", "no_such_module"])
def test_other_names_are_still_not_found(tmp_path, name):
    done = python(f"import loom, {name}", tmp_path)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr


def test_a_real_module_that_appears_later_is_found(tmp_path):
    source = """
import sys
import loom, Message, tool
assert Message is loom.Message and tool is loom.tool
assert "Message" not in sys.modules and "tool" not in sys.modules
import Message, importlib
assert Message is loom.Message and importlib.import_module("tool") is loom.tool
open("tool.py", "w").write("real = True")
open("Message.py", "w").write("real = True")
importlib.invalidate_caches()
import Message, tool
assert tool.real and Message.real and "tool" in sys.modules
"""
    assert output(source, tmp_path) == ""


def test_a_caller_whose_path_resembles_the_import_system_is_a_caller(tmp_path):
    (tmp_path / "my_importlib").mkdir()
    (tmp_path / "my_importlib" / "stranger.py").write_text("import Message\n")
    done = python("import loom, my_importlib.stranger", tmp_path)
    assert done.returncode == 1 and "No module named 'Message'" in done.stderr


def test_nothing_is_installed_under_these_names(tmp_path):
    source = """
import importlib.util
for name in ("Message", "tool"):
    assert importlib.util.find_spec(name) is None, name
"""
    assert output(source, tmp_path) == ""


# ---- What an import costs


def test_importing_has_no_side_effects(tmp_path):
    source = """
import os, sys, threading, asyncio
forbidden = ("socket.", "os.mkdir", "os.rename", "os.remove", "subprocess.", "os.fork", "_thread.start_new_thread")
def hook(name, args):
    if name.startswith(forbidden):
        raise AssertionError(f"import does {name} {args}")
    if name == "open" and set(args[1] or "") & set("wax+") and ".pyc" not in str(args[0]):
        raise AssertionError(f"import writes {args}")
tasks = lambda: len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
before, fds = tasks(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
sys.addaudithook(hook)
import loom, loom.builtin
from loom.builtin import UnifiedLLM
assert tasks() == before and threading.active_count() == 1, "import starts threads"
assert not fds or len(os.listdir("/proc/self/fd")) == fds, "import opens files or sockets"
llm = UnifiedLLM(provider="custom", base_url="https://your-service.com/v1", model="m")
loom.agent(llm=llm)
assert tasks() == before, "making an agent starts threads"
"""
    home = tmp_path / "home"
    home.mkdir()
    assert output(source, tmp_path, HOME=str(home), PYTHONDONTWRITEBYTECODE="1") == ""
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]


def test_importing_raises_no_warning(tmp_path):
    assert output("import loom, loom.builtin, Message, tool", tmp_path, PYTHONWARNINGS="error", PYTHONDEVMODE="1") == ""


def test_importing_takes_less_than_30_ms_of_cpu(tmp_path):
    source = "import time; start = time.process_time(); import loom; print(time.process_time() - start)"
    # Compiled by the first run, whatever the machine's own settings are.
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    output(source, tmp_path, **compiled)
    # What other processes do to the caches only adds: the least is what it takes.
    least = 1.0
    for _ in range(30):
        least = min(least, float(output(source, tmp_path, **compiled)))
        if least < 0.030:
            break
    assert least < 0.030


def test_importing_needs_no_third_party_package(tmp_path):
    source = """
import sys, sysconfig
before = set(sys.modules)
import loom, loom.builtin
known = set(sys.stdlib_module_names) if hasattr(sys, "stdlib_module_names") else None
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert known is None or new - known == {"loom"}, new - known
"""
    assert output(source, tmp_path) == ""


def test_names_and_types(tmp_path):
    source = """
import loom, pathlib
assert (pathlib.Path(loom.__file__).parent / "py.typed").exists()
assert isinstance(loom.__version__, str)
missing = [name for name in loom.__all__ if not hasattr(loom, name)]
assert not missing, missing
assert {"agent", "Agent", "Message", "tool", "Usage", "Timeout", "BaseLLM", "LLMError"} <= set(loom.__all__)
assert {"agent", "Message"} <= set(dir(loom))
"""
    assert output(source, tmp_path) == ""
