"""How a tool's calls are carried out: at once, alone, in time, again, with a context, and what they return."""

import asyncio
import contextvars
import time
from typing import Any, Optional

import loom
import pytest
from conftest import agent_for, run
from replies import tool_calls, whole

from servers import MockServer


def results(server: MockServer) -> list[Any]:
    return [message["content"] for message in server.chats[-1].messages if message["role"] == "tool"]


def carry_out(server: MockServer, *tools: Any, calls: Any = None, deps: Any = None, **options: Any) -> list[Any]:
    """The results of one call of each tool, or of those calls."""
    server.script(tool_calls(*(calls or [(tool.name, {}) for tool in tools])))
    run(agent_for(server, tools=list(tools), **options).run("go", deps=deps))
    return results(server)


@pytest.mark.parametrize(("options", "most"), [({}, 5), ({"max_parallel_tools": 2}, 2), ({"max_parallel_tools": 1}, 1)])
def test_calls_run_at_once_within_the_limit_in_order(server: MockServer, options: dict[str, int], most: int) -> None:
    running: list[int] = [0, 0]

    @loom.tool
    async def wait(n: int) -> int:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.06 - 0.01 * n)
        running[0] -= 1
        return n

    assert carry_out(server, wait, calls=[("wait", {"n": n}) for n in range(5)], **options) == list("01234")
    assert running[1] == most


def test_a_sequential_tool_runs_alone(server: MockServer) -> None:
    running: set[str] = set()
    seen: list[set[str]] = []

    @loom.tool
    async def wait(name: str) -> None:
        running.add(name)
        await asyncio.sleep(0.02)
        running.discard(name)

    @loom.tool(sequential=True)
    async def alone() -> None:
        seen.append(set(running))
        await asyncio.sleep(0.02)
        seen.append(set(running))

    calls = [("wait", {"name": "a"}), ("alone", {}), ("wait", {"name": "b"}), ("wait", {"name": "c"})]
    carry_out(server, wait, alone, calls=calls)
    assert seen == [set(), set()]


def test_a_tool_is_given_up_called_again_and_cut(server: MockServer) -> None:
    attempts: list[int] = []

    @loom.tool(timeout=0.05, retries=1)
    async def slow(context: loom.ToolContext) -> None:
        attempts.append(context.attempt)
        await asyncio.sleep(60)

    @loom.tool(timeout=0.05)
    def blocking() -> None:
        time.sleep(0.3)

    @loom.tool(retries=2)
    def flaky(context: loom.ToolContext) -> str:
        if context.attempt < 3:
            raise OSError("not yet")
        return "now"

    @loom.tool(max_result_chars=10)
    def long() -> str:
        return "ä" * 100

    said = carry_out(server, slow, blocking, flaky, long)
    assert attempts == [1, 2]
    assert "did not end within 0.05 s" in said[0] and "did not end within 0.05 s" in said[1]
    assert said[2:] == ["now", "ä" * 10 + "\n[cut: the first 10 of 100 characters are shown]"]


def test_a_failure_ends_the_run_where_it_shall(server: MockServer) -> None:
    @loom.tool(raise_errors=True)
    def fails() -> None:
        raise OSError("no disk")

    server.script(tool_calls(("fails", {})))
    with pytest.raises(loom.ToolError, match=r"'fails' failed: .*no disk") as caught:
        run(agent_for(server, tools=[fails]).run("go"))
    assert isinstance(caught.value.__cause__, OSError)
    assert [message.role for message in caught.value.transcript] == ["user", "assistant"]


def test_a_tool_gets_its_context_and_the_model_knows_nothing_of_it(server: MockServer) -> None:
    @loom.tool
    def who(context: "loom.ToolContext[str]", greeting: str = "Hello") -> str:
        return f"{greeting} {context.deps} from {context.agent} by {context.tool}/{context.call_id}"

    @loom.tool
    async def other(context: Optional[loom.ToolContext] = None) -> str:
        assert context is not None
        return str(context.deps)

    said = carry_out(server, who, other, deps="Ada", name="clerk")
    assert said == ["Hello Ada from clerk by who/call_1", "Ada"]
    assert list(who.parameters["properties"]) == ["greeting"] and other.parameters["properties"] == {}
    assert run(who.invoke({})) == "Hello None from  by /"


def test_an_agent_is_a_tool_of_another_and_gets_its_deps(server: MockServer, other_server: MockServer) -> None:
    @loom.tool
    def who(context: loom.ToolContext) -> str:
        return f"{context.deps} asks {context.agent}"

    other_server.script(tool_calls(("who", {})))
    expert = agent_for(other_server, name="expert", tools=[who], system_prompt="You know.")
    ask = expert.as_tool(name="ask", description="Knows who asks", timeout=30)
    (said,) = carry_out(server, ask, calls=[("ask", {"message": "Who?"})], deps="Ada")
    assert results(other_server) == ["Ada asks expert"]
    assert said and other_server.chats[0].messages[-1] == {"role": "user", "content": "Who?"}
    with pytest.raises(loom.ToolError, match="as_tool"):
        agent_for(server, tools=[expert])


def test_pictures_are_shown_and_what_cannot_be_read_is_the_tools_failure(server: MockServer, tmp_path: Any) -> None:
    png = b"\x89PNG\r\n\x1a\n...."
    (tmp_path / "dot.png").write_bytes(png)

    @loom.tool
    def raw() -> bytes:
        return png

    @loom.tool
    def several() -> list[Any]:
        return ["two dots", loom.Image(tmp_path / "dot.png"), {"n": 2}, loom.Image(png)]

    @loom.tool
    def missing() -> Any:
        return loom.Image("/no/such.png")

    @loom.tool
    def other() -> bytes:
        return b"abc"

    said = carry_out(server, raw, several, missing, other)
    assert said[1] == 'two dots{"n": 2}' and "/no/such.png" in said[2] and said[3] == '"(3 bytes)"'
    shown = server.chats[-1].messages[-1]
    assert shown["role"] == "user"
    assert [part["type"] for part in shown["content"]] == ["text", "image_url", "text", "image_url", "image_url"]


def test_react_mode_puts_the_tools_into_the_prompt(server: MockServer) -> None:
    @loom.tool
    def double(n: int) -> int:
        return 2 * n

    server.script(whole({"content": '<tool_call>\n{"name": "double", "arguments": {"n": 2}}\n</tool_call>'}, "stop"))
    run(agent_for(server, tools=[double], react_mode=True).run("go"))
    assert all("tools" not in chat.json for chat in server.chats)
    assert "You have tools" in server.chats[0].messages[0]["content"]
    assert server.chats[1].messages[-1]["content"] == "<tool_response>\n4\n</tool_response>"


def test_tools_see_the_callers_context_variables(server: MockServer) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    @loom.tool(timeout=5)
    async def in_loop() -> str:
        return user.get()

    @loom.tool(timeout=5)
    def in_thread() -> str:
        return user.get()

    user.set("Ada")
    assert carry_out(server, in_loop, in_thread) == ["Ada", "Ada"]


def test_approval_is_told_by_the_arguments(server: MockServer) -> None:
    @loom.tool(requires_approval=lambda arguments: arguments["amount"] > 100)
    def pay(amount: int) -> str:
        return f"paid {amount}"

    agent = agent_for(server, tools=[pay])
    server.script(tool_calls(("pay", {"amount": 1}), ("pay", {"amount": 101})))
    with pytest.raises(loom.ApprovalRequiredError) as caught:
        run(agent.run("go"))
    assert [call.arguments for call in caught.value.calls] == [{"amount": 101}]
    caught.value.run.approve()
    run(agent.run(caught.value.run))
    assert results(server) == ["paid 1", "paid 101"]


@pytest.mark.parametrize(
    "option",
    [{"timeout": 0}, {"timeout": "1"}, {"retries": -1}, {"sequential": 1}, {"max_result_chars": 0}],
    ids=str,
)
def test_options_that_cannot_work_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(loom.ToolError, match=next(iter(option))):
        loom.tool(**option, name="nothing")(lambda: None)
