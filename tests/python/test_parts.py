"""Images, audio and files within messages."""

import base64
import pickle
from pathlib import Path
from typing import Any

import loom
import pytest
from conftest import run

from servers import MockServer

DOT = Path(__file__).resolve().parents[1] / "corpus" / "dot.png"
PNG = DOT.read_bytes()
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def sent(server: MockServer, message: Any) -> Any:
    llm = loom.UnifiedLLM(base_url=server.url, model="m", max_retries=0)
    run(llm.generate(message))
    return server.chats[-1].json["messages"]


@pytest.mark.parametrize("source", [str(DOT), DOT, PNG, bytearray(PNG), memoryview(PNG), DATA_URL])
def test_an_image_from_anywhere(server: MockServer, source: Any) -> None:
    part = {"type": "image_url", "image_url": {"url": DATA_URL}}
    asked = {"type": "text", "text": "What?"}
    assert sent(server, ["What?", loom.Image(source)]) == [{"role": "user", "content": [asked, part]}]
    message = loom.Message("user", ["What?", loom.Image(source)])
    assert sent(server, [message])[0]["content"] == [asked, part]
    assert message.text == "What?"


def test_audio_and_files(server: MockServer) -> None:
    parts = ["?", loom.Audio(b"RIFF....WAVEfmt "), loom.File(b"%PDF-1.7", filename="a.pdf")]
    audio, file = sent(server, parts)[0]["content"][1:]
    assert audio["input_audio"]["format"] == "wav"
    assert file["file"]["filename"] == "a.pdf" and file["file"]["file_data"].startswith("data:application/pdf;base64,")


def test_an_agent_sees(server: MockServer) -> None:
    agent = loom.agent(base_url=server.url, model="m")
    agent.run_sync(["What?", loom.Image(DOT, detail="low")])
    content = server.chats[-1].json["messages"][0]["content"]
    assert content[1]["image_url"] == {"url": DATA_URL, "detail": "low"}


def test_what_cannot_be_sent_is_named(server: MockServer) -> None:
    for part, why in [
        (loom.Image("no-such-file.png"), "no-such-file.png cannot be read"),
        (loom.Image(b"??"), "media_type"),
        ({"type": "image"}, "one of path, url and data"),
    ]:
        with pytest.raises(loom.ConfigurationError, match=why):
            sent(server, ["What?", part])
    assert not server.requests


def test_parts_are_plain_data() -> None:
    part = loom.Image("cat.png")
    assert part == {"type": "image", "path": "cat.png"}
    assert pickle.loads(pickle.dumps(part)) == part
    message = loom.Message("user", ["?", part])
    assert loom.Message.from_dict(message.to_dict()) == message
    with pytest.raises(TypeError):
        loom.Image(3)  # type: ignore[arg-type]
