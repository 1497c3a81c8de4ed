"""Every code block of README*.md and docs/*.md, run as a reader would run it.

| block | what is done with it |
|---|---|
| python | run in a process of its own; it succeeds, says nothing on stderr, and prints if it has a print |
| bash | run by bash with the command `loom` on the path; likewise |
| console | each `$ ` line is run by bash; what it prints must be what stands below it (`…` stands for any text) |
| toml | read by `loom providers --config`, which must list every endpoint and provider in it |
| rust | the page is a doctest of the crate loom-agent (see its lib.rs), so `cargo test` compiles it |
| text | nothing |

Every http and https host but 127.0.0.1 is played by a proxy in front of a mock server; nothing leaves the machine. A
block that cannot run here has `<!-- not run: the reason -->` in the line above it.

docs/custom-base-url.zh.md has a test of its own: tests/python/test_spec_page.py.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import trustme  # noqa: E402
from proxy import Proxy  # noqa: E402
from replies import Answer, EchoChat, Request, json_reply, plain_text, tool_calls, whole  # noqa: E402

from servers import MockServer  # noqa: E402


def _clean_environment() -> dict[str, str]:
    """That of tests/python, loaded under another name: a session may hold only one module `conftest`."""
    spec = importlib.util.spec_from_file_location("python_conftest", ROOT / "tests" / "python" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.clean_environment()  # type: ignore[no-any-return]


SPEC_PAGE = ROOT / "docs" / "custom-base-url.zh.md"
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")])
LANGUAGES = ("python", "bash", "console", "toml", "rust,no_run", "text")
COMMANDS = Path(os.environ.get("LOOM_DOCS_BIN", Path(sys.prefix) / "bin"))  #: the folder with the command `loom`


# ---- The blocks


@dataclass
class Block:
    page: Path
    line: int
    language: str
    code: str
    not_run: Optional[str]  #: the reason

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = re.match(r"^(\s*)(```+)(.*)$", lines[at])
        if fence is None:
            at += 1
            continue
        indent, marks, language = fence.groups()
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == marks)
        code = "\n".join(line[len(indent) :] for line in lines[at + 1 : end]) + "\n"
        reason = re.fullmatch(r"\s*<!-- not run: (.+) -->", lines[at - 1]) if at else None
        found.append(Block(page, at + 2, language.strip(), code, reason[1] if reason else None))
        at = end + 1
    return found


BLOCKS = [block for page in PAGES if page != SPEC_PAGE for block in blocks_of(page)]


def cases(language: str) -> Any:
    chosen = [block for block in BLOCKS if block.language == language and block.not_run is None]
    return pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in chosen])


# ---- The endpoint


def filled(schema: Any, root: Any = None) -> Any:
    """A value that fits a schema."""
    if not schema:
        return {"answer": "echo"}
    root = root or schema
    if "$ref" in schema:
        return filled(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], root)
    if schema.get("type") == "object":
        return {name: filled(field, root) for name, field in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [filled(schema["items"], root)]
    return {"integer": 2, "number": 2.5, "boolean": True, "null": None}.get(schema.get("type"), "Paris")


class AnyService(EchoChat):
    """A chat on any path that calls the tools whose name, or a word of it, the user mentions."""

    def __call__(self, request: Request) -> Answer:
        if request.path.endswith("/oauth2/token"):
            return json_reply({"access_token": "sk-token", "token_type": "Bearer", "expires_in": 3600})
        if request.path.endswith("/models"):
            return json_reply({"object": "list", "data": [{"id": model, "object": "model"} for model in self.models]})
        body = request.json
        last = body["messages"][-1]
        stream = body.get("stream") is True
        if body.get("response_format"):
            said = json.dumps(filled((body["response_format"].get("json_schema") or {}).get("schema")))
            return whole({"content": said}) if not stream else self.answer(said, stream, body)
        if last["role"] != "user":
            results = [plain_text(message["content"]) for message in body["messages"] if message["role"] == "tool"]
            return self.answer("tools: " + ", ".join(results), stream, body)
        text = plain_text(last["content"])
        functions = [tool["function"] for tool in body.get("tools", [])]
        called = [function for function in functions if self.is_meant(function["name"], text, body)]
        if called:
            return tool_calls(*((f["name"], self.arguments(f["parameters"])) for f in called), stream=stream)
        return self.answer(f"echo: {text}", stream, body)

    @staticmethod
    def is_meant(name: str, text: str, body: Any) -> bool:
        words = [name, *(word for word in name.split("_") if len(word) > 3)]
        return body.get("tool_choice") == "required" or any(word in text.lower() for word in words)

    @staticmethod
    def arguments(schema: Any) -> Any:
        examples = {"string": "Paris", "integer": 2, "number": 2.5, "boolean": True, "array": [], "object": {}}
        return {
            name: field["enum"][0] if "enum" in field else examples[field.get("type", "string")]
            for name, field in schema["properties"].items()
            if name in schema.get("required", [])
        }


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> "tuple[trustme.CA, str]":
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return ca, str(path)


@dataclass
class World:
    """What a block runs in."""

    server: MockServer
    environment: dict[str, str]
    folder: Path

    def run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
            **{"stderr": subprocess.PIPE, **options},
        )


@pytest.fixture
def world(ca_file: "tuple[trustme.CA, str]", tmp_path: Path) -> Iterator[World]:
    ca, path = ca_file
    folder = tmp_path / "here"
    folder.mkdir()
    with MockServer(AnyService()) as server, Proxy(server, ca) as proxy:
        environment = {
            **_clean_environment(),
            "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "HTTP_PROXY": proxy.url,
            "HTTPS_PROXY": proxy.url,
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": path,
            # What the pages tell readers to set.
            "DEEPSEEK_API_KEY": "sk-deepseek",
            "OFFICE_KEY": "sk-office",
        }
        # One loom.toml for every page, with the endpoint that they all call "office".
        configuration = tmp_path / ".config" / "loom"
        configuration.mkdir(parents=True)
        (configuration / "loom.toml").write_text(
            '[endpoints.office]\nbase_url = "https://llm.yourcompany.internal/v1"\napi_key = { env = "OFFICE_KEY" }\n'
        )
        yield World(server, environment, folder)


# ---- Running them


def test_every_block_is_of_a_kind_that_is_tested():
    assert len(BLOCKS) > 50
    assert [f"{block}: {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES] == []


@cases("python")
def test_python(world, block):
    script = world.folder.parent / "block.py"
    script.write_text(block.code, encoding="utf-8")
    done = world.run([sys.executable, str(script)])
    assert (done.returncode, done.stderr) == (0, "")
    left = [path.name for path in world.folder.iterdir()]
    assert [name for name in left if f'"{name}"' not in block.code] == [], "the block left files that it does not name"
    if "print(" in block.code:
        assert done.stdout.strip(), "nothing was printed"
    if "run_sync(" in block.code and "tools=[" in block.code:
        assert "tools: " in done.stdout, "no tool was called"


@cases("bash")
def test_bash(world, block):
    done = world.run(["bash", "-euo", "pipefail", "-c", block.code])
    assert (done.returncode, done.stderr) == (0, "")
    if re.search(r"\bloom (run|models|providers|demo|--|\w+ --help)", block.code):
        assert done.stdout.strip(), "nothing was printed"


@cases("console")
def test_console(world, block):
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.code, re.MULTILINE)
    assert steps and block.code.startswith("$ ")
    for command, expected in steps:
        done = world.run(["bash", "-c", command], stderr=subprocess.STDOUT)
        pattern = ".*".join(map(re.escape, expected.strip().split("…")))
        assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), f"$ {command}\n{done.stdout}"


@cases("toml")
def test_toml(world, block):
    file = world.folder / "loom.toml"
    file.write_text(block.code, encoding="utf-8")
    done = world.run(["loom", "providers", "--json", "--config", str(file)])
    assert (done.returncode, done.stderr) == (0, "")
    listed = {row["name"] for row in json.loads(done.stdout) if row["source"] != "built-in"}
    assert listed == set(re.findall(r"^\[(?:endpoints|providers)\.([\w-]+)", block.code, re.MULTILINE)) != set()


@cases("rust,no_run")
def test_rust(block):
    assert re.search(r"fn main\(", block.code), "a block is a whole program: hidden lines show on GitHub"


@pytest.mark.parametrize(
    "page",
    sorted({b.page for b in BLOCKS if b.language == "rust,no_run"}),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_rust_is_compiled(page):
    lib = (ROOT / "crates" / "loom-agent" / "src" / "lib.rs").read_text(encoding="utf-8")
    include = f'include_str!("../../../{page.relative_to(ROOT).as_posix()}")'
    assert include in lib, f"lib.rs does not compile this page: #[cfg(doctest)] #[doc = {include}]"


# ---- The pages


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_both_languages_say_the_same_in_code(page):
    """Each page in Chinese has the blocks of its counterpart in English, and the sections."""
    name = page.name.replace(".zh-CN.md", ".md").replace(".zh.md", ".md")
    if name == page.name or page == SPEC_PAGE:
        return
    other = page.with_name(name)
    assert [(b.language, bool(b.not_run)) for b in blocks_of(page)] == [
        (b.language, bool(b.not_run)) for b in blocks_of(other)
    ]
    levels = [
        re.findall(r"^#+(?= )", re.sub(r"^```.*?^```$", "", p.read_text(encoding="utf-8"), flags=re.S | re.M), re.M)
        for p in (page, other)
    ]
    assert levels[0] == levels[1], "the sections differ"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(found), f"{target}: there is no such section"


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the sections of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def test_the_tables_of_providers_are_up_to_date():
    spec = importlib.util.spec_from_file_location("providers_table", ROOT / "docs" / "providers_table.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    for page in generator.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert generator.MARKED.search(text)
        assert text == generator.updated(text), f"{page}: python docs/providers_table.py --write"


def test_the_tables_of_errors_are_complete():
    from loom.errors import CLASS_OF_KIND

    assert len(CLASS_OF_KIND) == 15
    for page in ("python-api.md", "python-api.zh.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for kind, error in CLASS_OF_KIND.items():
            assert re.search(rf"^\| `{kind}` \| `{error.__name__}` \|", text, re.MULTILINE), kind


def test_the_table_of_the_ledgers_rules_is_complete():
    import loom

    rules = {row["rule"]: row for row in loom.ledger_rules()}
    for page in ("ledger.md", "ledger.zh.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        rows = re.findall(r"^\| `(\w+)` \| `((?:request|answer|connection)[\w.]*)` \| (.*) \|$", text, re.MULTILINE)
        assert [row[0] for row in rows] == list(rules), f"{page}: the rules differ from crates/loom-wire/src/ledger.rs"
        for rule, where, what in rows:
            assert where == rules[rule]["where"] and (page.endswith(".zh.md") or what == rules[rule]["what"]), rule


def test_the_command_line_page_names_every_option(world):
    for page in ("cli.md", "cli.zh.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for command in ("run", "chat", "models", "providers", "emulate", "demo"):
            done = world.run(["loom", command, "--help"])
            assert done.returncode == 0 and f"`loom {command}" in text
            for option in re.findall(r"--[a-z][a-z-]+", done.stdout):
                assert option in text or option == "--help", f"{page} lacks {option}"
            for variable in re.findall(r"LOOM_[A-Z_]+", done.stdout):
                assert variable in text, f"{page} lacks {variable}"


@pytest.mark.parametrize("page", ["troubleshooting.md", "troubleshooting.zh.md"])
def test_the_messages_that_troubleshooting_quotes_are_the_codes_own(page):
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("crates/*/src/**/*.rs")))
    source = re.sub(r"\\\n\s*", "", source).replace('\\"', '"').replace("`", "")
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    quoted = [row for row in re.findall(r"^\| `([^`]+)`(?! \| `)", text, re.MULTILINE) if " " in row]
    assert len(quoted) > 30
    pieces = [piece.strip(' :,"') for quote in quoted for piece in quote.split("…")]
    assert [piece for piece in pieces if piece not in source] == []
