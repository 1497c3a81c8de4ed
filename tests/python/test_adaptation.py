"""What an endpoint takes: known, learnt, said by the user. The wordings of refusals are the corpus's."""

import loom
import pytest
from conftest import run
from replies import Reply, error_reply, json_reply, whole

from servers import MockServer


def refusal(message: str, status: int = 400) -> Reply:
    return error_reply(status, message)


def llm_at(server: MockServer, **settings: object) -> loom.UnifiedLLM:
    return loom.UnifiedLLM(base_url=server.url, model="m", max_retries=0, **settings)  # type: ignore[arg-type]


def test_lessons_belong_to_origin_and_model(server: MockServer, other_server: MockServer) -> None:
    server.script(refusal("System role not supported"))
    conversation = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
    run(llm_at(server).generate(conversation))
    roles = [[message["role"] for message in chat.json["messages"]] for chat in server.chats]
    assert roles == [["system", "user"], ["user"]]
    # A new LLM knows it, another model and another origin do not.
    run(llm_at(server).generate(conversation))
    run(loom.UnifiedLLM(base_url=server.url, model="other").generate(conversation))
    run(llm_at(other_server).generate(conversation))
    assert [len(chat.json["messages"]) for chat in server.chats[2:]] == [1, 2]
    assert len(other_server.chats[0].json["messages"]) == 2


def test_the_users_profile_wins(server: MockServer) -> None:
    server.script(refusal("System role not supported"))
    with pytest.raises(loom.BadRequestError):
        run(llm_at(server, profile={"system": "any"}).generate([{"role": "system", "content": "x"}]))
    run(
        llm_at(server, profile={"leave_out": ["seed"], "max_tokens_field": "n_predict"}, seed=1, max_tokens=5).generate(
            "Hi"
        )
    )
    assert "seed" not in server.chats[-1].json and server.chats[-1].json["n_predict"] == 5
    with pytest.raises(loom.ConfigurationError, match="sistem"):
        llm_at(server, profile={"sistem": "any"})


def test_a_knob_is_named_and_dropped_only_with_leave(server: MockServer) -> None:
    server.script(refusal("Unsupported value: 'temperature' does not support 0.3 with this model."))
    with pytest.raises(loom.BadRequestError) as caught:
        run(llm_at(server, temperature=0.3).generate("Hi"))
    assert caught.value.param == "temperature" and "drop_params" in str(caught.value.hint)
    server.script(refusal("Unsupported value: 'temperature' does not support 0.3 with this model."))
    completion = run(llm_at(server, temperature=0.3, drop_params=True).generate("Hi"))
    assert "temperature" not in server.chats[-1].json
    assert "request_adapted" in str(completion.ledger)


def test_the_server_is_known_by_its_answers(server: MockServer) -> None:
    llm = llm_at(server)
    assert llm.server is None
    body = {"system_fingerprint": "fp_ollama", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    server.script(json_reply(body))
    run(llm.generate("Hi"))
    assert llm.server == "ollama" == llm_at(server).server
    assert len(server.requests) == 1, "nothing is asked to find out"


def test_leave_to_drop_a_knob_is_not_another_llms(server: MockServer) -> None:
    server.handler = lambda request: (
        error_reply(400, "Unsupported parameter: 'temperature' is not supported with this model.", param="temperature")
        if "temperature" in request.json
        else whole({"content": "ok"})
    )
    assert run(llm_at(server, drop_params=True, temperature=0.5).generate("Hi")).content == "ok"
    with pytest.raises(loom.BadRequestError) as caught:
        run(llm_at(server, temperature=0.5).generate("Hi"))
    assert caught.value.param == "temperature"
