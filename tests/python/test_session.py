"""Sessions: kept in memory or in a file, forked, exported; the same from Python, Rust and the shell."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import stat
import threading

import loom
import pytest

CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "name": "look", "arguments": {"at": "x"}}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "found"}


def block(name):
    return [f"{name} asks", CALL, RESULT, {"role": "assistant", "content": f"{name} answers"}]


@pytest.fixture(params=["memory", "file"])
def session(request, tmp_path):
    return loom.Session() if request.param == "memory" else loom.Session.open(tmp_path / "chat.db", "talk")


def test_a_session_keeps_what_it_is_given(session):
    assert session.messages == [] and len(session) == 0 and session
    session.append(block("one"))
    session.append("alone")
    session.append(loom.Message("assistant", "yes"))
    roles = [message.role for message in session.messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert session.messages[1].tool_calls[0].arguments == {"at": "x"}
    session.title = "Talk"
    session.metadata = {"user": [1, None, "é"]}
    assert (session.title, session.metadata) == ("Talk", {"user": [1, None, "é"]})
    assert session.info["message_count"] == len(session) == 6
    session.clear()
    assert len(session) == 0 and session.title == "Talk"


def test_a_call_and_its_result_stay_together(session):
    with pytest.raises(loom.SessionError, match=r"message 1 .* a tool call without its result") as caught:
        session.append(block("one")[:2])
    assert caught.value.kind == "incomplete"
    session.append(block("one"))
    with pytest.raises(loom.SessionError, match="together"):
        session.fork(at=2)
    with pytest.raises(loom.SessionError, match="has 4 messages"):
        session.fork(at=5)


def test_a_fork_goes_its_own_way(session):
    session.append(block("one"))
    session.append(block("two"))
    fork = session.fork("other", at=4)
    fork.append(block("three"))
    assert fork.info["parent"] == session.id
    assert [message.text for message in fork.messages][-1] == "three answers"
    assert [message.text for message in session.messages][-1] == "two answers"
    assert session.fork().id not in ("other", session.id)


def test_json_and_back(session, tmp_path):
    session.append(block("one"))
    session.title = "Talk"
    text = session.to_json()
    assert json.loads(text)["messages"][1]["tool_calls"][0]["id"] == "c1"
    read = loom.Session.from_json(text)
    assert read.to_json() == text and read.messages == session.messages
    stored = loom.Session.from_json(text, tmp_path / "copy.db", "copy")
    assert stored.messages == session.messages and stored.info["created_at"] == session.info["created_at"]
    with pytest.raises(loom.SessionError) as caught:
        loom.Session.from_json(text, tmp_path / "copy.db", "copy")
    assert caught.value.kind == "exists"
    assert loom.Session.from_json('[{"role": "user", "content": "hi"}]').messages[0].text == "hi"
    with pytest.raises(loom.SessionError, match="this is no session"):
        loom.Session.from_json("{}")


def test_a_file_lists_its_sessions(tmp_path):
    path = tmp_path / "chat.db"
    assert loom.Session.list(path) == [] and not path.exists()
    new = loom.Session.open(path)
    assert not path.exists()
    new.append("hello")
    loom.Session.open(str(path), "b").append("hello")
    assert [entry["id"] for entry in loom.Session.list(path)] == ["b", new.id]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    again = pickle.loads(pickle.dumps(new))
    assert again.path == path and again.messages == new.messages
    assert new.delete() and not new.delete()
    assert [entry["id"] for entry in loom.Session.list(path)] == ["b"]


def test_what_is_no_store_is_left_alone(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(loom.SessionError, match="not an SQLite file") as caught:
        loom.Session.open(notes, "a")
    assert caught.value.kind == "foreign" and notes.read_text() == "mine"
    with pytest.raises(loom.SessionError, match="control characters"):
        loom.Session.open(tmp_path / "a.db", "")


def _append(path, name):
    session = loom.Session.open(path, "shared")
    for at in range(20):
        session.append(block(f"{name}.{at}"))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_and_threads_at_once(tmp_path, method):
    path = tmp_path / "chat.db"
    mine = loom.Session.open(path, "shared")
    mine.append(block("first"))
    context = multiprocessing.get_context(method)
    others = [context.Process(target=_append, args=(path, f"p{at}")) for at in range(2)]
    for process in others:
        process.start()
    threads = [threading.Thread(target=_append, args=(path, f"t{at}")) for at in range(2)]
    for thread in threads:
        thread.start()
    for worker in (*threads, *others):
        worker.join()
    assert [process.exitcode for process in others] == [0, 0]
    texts = [message.text for message in mine.messages]
    assert len(texts) == 4 + 4 * 20 * 4
    for at in range(0, len(texts), 4):
        assert texts[at].split(" ")[0] == texts[at + 3].split(" ")[0]
