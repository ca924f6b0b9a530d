"""The official OpenAI SDK for Python against a running Chorale: python sdk.py BASE_URL MODEL MCP_URL

Prints one line a check, "ok NAME" or "FAIL NAME: why"; the Go test makes a subtest of each.
"""

import asyncio
import sys
import traceback

import openai
from pydantic import BaseModel, Field

client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=60)
MODEL = sys.argv[2]

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Current weather of a city",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
QUESTION = "What is the weather in Lisbon?"


class get_weather(BaseModel):
    """Current weather of a city"""

    city: str = Field(description="name of the city")


def only(response, kind):
    found = [item for item in response.output if item.type == kind]
    assert len(found) == 1, f"{len(found)} items of type {kind} in {response.output}"
    return found[0]


def create_text():
    r = client.responses.create(model=MODEL, input="Hello!", temperature=0, metadata={"a": "b"})
    assert r.object == "response" and r.status == "completed" and r.error is None, r
    assert r.output_text.strip(), r.output
    assert only(r, "message").content[0].type == "output_text"
    assert r.metadata == {"a": "b"} and r.model == MODEL and r.temperature == 0
    u = r.usage
    assert u.input_tokens > 0 and u.output_tokens > 0 and u.total_tokens == u.input_tokens + u.output_tokens
    assert u.input_tokens_details.cached_tokens >= 0 and u.output_tokens_details.reasoning_tokens > 0
    assert only(r, "reasoning").content[0].type == "reasoning_text"
    assert r._request_id


def create_stream():
    stream = client.responses.create(model=MODEL, input="Hello!", temperature=0, stream=True)
    events = [e for e in stream if e.type != "keepalive"]
    kinds = [e.type for e in events]
    assert kinds[:2] == ["response.created", "response.in_progress"], kinds
    assert kinds[-1] == "response.completed", kinds
    assert [e.sequence_number for e in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    thought = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
    final = events[-1].response
    assert text == final.output_text and text.strip()
    assert thought == only(final, "reasoning").content[0].text and thought.strip()
    assert client.responses.retrieve(final.id).output == final.output


def stream_equals_create():
    create = client.responses.create(model=MODEL, input="Who are you?", temperature=0)
    with client.responses.stream(model=MODEL, input="Who are you?", temperature=0) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_response()
    assert streamed.output_text == create.output_text, (streamed.output_text, create.output_text)


def stream_helper():
    text, snapshots = "", 0
    with client.responses.stream(model=MODEL, input="Hello!", temperature=0) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
                assert event.snapshot == text
                snapshots += 1
        final = stream.get_final_response()
    assert snapshots > 0 and final.output_text == text


def stream_helper_function_call():
    arguments, done = "", None
    with client.responses.stream(
        model=MODEL, input=QUESTION, tools=[openai.pydantic_responses_function_tool(get_weather)], temperature=0
    ) as stream:
        for event in stream:
            if event.type == "response.function_call_arguments.delta":
                arguments += event.delta
            if event.type == "response.function_call_arguments.done":
                done = event.arguments
        final = stream.get_final_response()
    call = only(final, "function_call")
    assert arguments == done == call.arguments
    assert call.parsed_arguments == get_weather(city="Lisbon"), call


def parse():
    r = client.responses.parse(model=MODEL, input=QUESTION, tools=[WEATHER], temperature=0)
    assert only(r, "function_call").parsed_arguments == {"city": "Lisbon"}, r.output


def parse_pydantic_tool_by_force():
    r = client.responses.parse(
        model=MODEL, input=QUESTION, tools=[openai.pydantic_responses_function_tool(get_weather)], temperature=0,
        tool_choice={"type": "function", "name": "get_weather"},
    )
    assert only(r, "function_call").parsed_arguments == get_weather(city="Lisbon"), r.output


def function_call_with_previous_response_id():
    first = client.responses.create(model=MODEL, input=QUESTION, tools=[WEATHER], temperature=0)
    call = only(first, "function_call")
    second = client.responses.create(
        model=MODEL, tools=[WEATHER], temperature=0, previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": '{"temperature": "17 degrees"}'}],
    )
    assert second.previous_response_id == first.id
    assert "17" in second.output_text, second.output_text


def function_call_stateless():
    conversation = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(model=MODEL, input=conversation, tools=[WEATHER], store=False, temperature=0)
    conversation += first.output
    conversation.append({"type": "function_call_output", "call_id": only(first, "function_call").call_id,
                         "output": '{"temperature": "17 degrees"}'})
    second = client.responses.create(model=MODEL, input=conversation, tools=[WEATHER], store=False, temperature=0)
    assert "17" in second.output_text, second.output_text
    fails(openai.NotFoundError, lambda: client.responses.retrieve(first.id))


def second_turn():
    first = client.responses.create(model=MODEL, input="Hello!", temperature=0)
    second = client.responses.create(model=MODEL, input="Who are you?", previous_response_id=first.id, temperature=0)
    assert second.status == "completed" and second.output_text.strip()
    assert second.usage.input_tokens > first.usage.input_tokens


def stored():
    r = client.responses.create(model=MODEL, input=[{"role": "user", "content": "Hello!"}, {"role": "user", "content": "Who are you?"}],
                                temperature=0)
    assert client.responses.retrieve(r.id).output_text == r.output_text
    items = list(client.responses.input_items.list(r.id, order="asc", limit=1))
    assert [i.content[0].text for i in items] == ["Hello!", "Who are you?"], items
    e = fails(openai.BadRequestError, lambda: client.responses.cancel(r.id))
    assert "background" in e.message
    client.responses.delete(r.id)
    fails(openai.NotFoundError, lambda: client.responses.retrieve(r.id))


def incomplete():
    r = client.responses.create(model=MODEL, input="Hello!", max_output_tokens=16, reasoning={"effort": "high"}, temperature=0)
    assert r.status == "incomplete" and r.incomplete_details.reason == "max_output_tokens", (r.status, r.output)
    assert r.usage.output_tokens == 16


PYTHON = {"type": "code_interpreter", "container": {"type": "auto"}}
PRODUCT = "What is 12345 * 6789?"


def code_interpreter():
    r = client.responses.create(model=MODEL, input=PRODUCT, tools=[PYTHON], include=["code_interpreter_call.outputs"], temperature=0)
    call = only(r, "code_interpreter_call")
    assert call.status == "completed" and call.container_id.startswith("cntr_") and "12345" in call.code, call
    assert [o.type for o in call.outputs] == ["logs"] and "83810205" in call.outputs[0].logs, call
    assert "83810205" in r.output_text, r.output_text
    assert r.tools[0].type == "code_interpreter" and r.tools[0].container.type == "auto", r.tools
    assert client.responses.retrieve(r.id).output == r.output
    assert client.containers.retrieve(call.container_id).status == "running"
    again = only(client.responses.create(model=MODEL, input=PRODUCT, tools=[PYTHON], temperature=0), "code_interpreter_call")
    assert again.outputs is None and again.container_id != call.container_id, again
    second = client.responses.create(model=MODEL, input="Hello!", tools=[PYTHON], previous_response_id=r.id, temperature=0)
    assert second.status == "completed" and second.usage.input_tokens > r.usage.input_tokens, second


def code_interpreter_stream():
    with client.responses.stream(model=MODEL, input=PRODUCT, tools=[PYTHON], tool_choice={"type": "code_interpreter"}, temperature=0) as stream:
        events = [e for e in stream if e.type != "keepalive"]
        final = stream.get_final_response()
    call = only(final, "code_interpreter_call")
    mine = [e for e in events if "code_interpreter" in e.type]
    kinds = [e.type.removeprefix("response.code_interpreter_call") for e in mine]
    assert kinds[0] == ".in_progress" and kinds[-3:] == ["_code.done", ".interpreting", ".completed"], kinds
    assert set(kinds[1:-3]) == {"_code.delta"}, kinds
    assert {(e.item_id, e.output_index) for e in mine} == {(call.id, final.output.index(call))}, mine
    assert "".join(e.delta for e in mine if e.type.endswith("delta")) == mine[-3].code == call.code, call
    assert call.outputs is None and "83810205" in final.output_text, final.output


UNITS = {"type": "plugin", "name": "units", "allowed_tools": ["convert"]}


def plugin_stream():
    with client.responses.stream(model=MODEL, input="Convert 26.2 miles to km.", tools=[UNITS], temperature=0) as stream:
        events = [e for e in stream if e.type != "keepalive"]
        final = stream.get_final_response()
    call = only(final, "mcp_call")
    mine = [e for e in events if "mcp_call" in e.type]
    kinds = [e.type.removeprefix("response.mcp_call") for e in mine]
    assert kinds[0] == ".in_progress" and kinds[-2:] == ["_arguments.done", ".completed"], kinds
    assert set(kinds[1:-2]) == {"_arguments.delta"}, kinds
    assert {(e.item_id, e.output_index) for e in mine} == {(call.id, final.output.index(call))}, mine
    assert "".join(e.delta for e in mine if e.type.endswith("delta")) == mine[-2].arguments == call.arguments, call
    assert (call.server_label, call.name, call.status, call.error) == ("units", "convert", "completed", None), call
    assert "42.1648128" in call.output and "42.1648128" in final.output_text, final.output


def plugin_stateless():
    conversation = [{"role": "user", "content": "Convert 26.2 miles to km."}]
    first = client.responses.create(model=MODEL, input=conversation, tools=[UNITS], temperature=0, store=False)
    conversation += [item.model_dump(exclude_none=True) for item in first.output] + [{"role": "user", "content": "Thanks!"}]
    second = client.responses.create(model=MODEL, input=conversation, tools=[UNITS], temperature=0, store=False)
    assert second.status == "completed" and second.usage.input_tokens > first.usage.input_tokens, second


SITE = sys.argv[4]


def web_search_stream():
    with client.responses.stream(
        model=MODEL, input=f"What does {SITE}/dogs say?", tools=[{"type": "web_search", "search_context_size": "low"}], temperature=0,
        max_output_tokens=500,
    ) as stream:
        events = [e for e in stream if e.type != "keepalive"]
        final = stream.get_final_response()
    call = only(final, "web_search_call")
    kinds = [e.type for e in events if "web_search_call" in e.type]
    assert kinds == ["response.web_search_call." + k for k in ("in_progress", "searching", "completed")], kinds
    assert (call.status, call.action.type, call.action.url) == ("completed", "open_page", SITE + "/dogs"), call
    text = final.output[-1].content[0]
    (note,) = text.annotations
    assert (note.type, note.url, note.title) == ("url_citation", SITE + "/dogs", "Dogs"), note
    assert text.text[note.start_index : note.end_index].endswith(f"({SITE}/dogs))"), text
    (added,) = [e for e in events if e.type == "response.output_text.annotation.added"]
    assert (added.annotation["url"] if isinstance(added.annotation, dict) else added.annotation.url) == note.url, added
    again = client.responses.create(model=MODEL, input="Thanks!", previous_response_id=final.id, temperature=0, max_output_tokens=200)
    assert again.status == "completed", again


def web_search_stateless():
    tools = [{"type": "web_search_preview"}]
    conversation = [{"role": "user", "content": f"What does {SITE}/dogs say?"}]
    first = client.responses.create(model=MODEL, input=conversation, tools=tools, temperature=0, store=False, max_output_tokens=500)
    conversation += [item.model_dump(exclude_none=True) for item in first.output] + [{"role": "user", "content": "Thanks!"}]
    second = client.responses.create(model=MODEL, input=conversation, tools=tools, temperature=0, store=False, max_output_tokens=200)
    assert second.usage.input_tokens > first.usage.input_tokens, second


MCP = {"type": "mcp", "server_label": "peer", "server_url": sys.argv[3], "allowed_tools": ["echo"], "authorization": "secret-token"}
ECHO = "Echo the text Hello there."


def mcp_stream():
    with client.responses.stream(model=MODEL, input=ECHO, tools=[MCP | {"require_approval": "never"}], temperature=0) as stream:
        events = [e for e in stream if e.type != "keepalive"]
        final = stream.get_final_response()
    listed, call = only(final, "mcp_list_tools"), only(final, "mcp_call")
    assert [t.name for t in listed.tools] == ["echo"] and listed.error is None and listed.tools[0].input_schema["type"] == "object", listed
    kinds = [e.type.removeprefix("response.mcp_list_tools") for e in events if "mcp_list_tools" in e.type]
    assert kinds == [".in_progress", ".completed"], kinds
    assert (call.server_label, call.name, call.status, call.error) == ("peer", "echo", "completed", None), call
    assert "Hello there" in call.output and "Hello there" in final.output_text, final.output
    tool = final.tools[0]
    assert tool.type == "mcp" and tool.authorization is None and tool.headers is None and tool.require_approval == "never", tool
    assert "secret-token" not in final.model_dump_json()
    again = client.responses.create(model=MODEL, input=ECHO, tools=[MCP], previous_response_id=final.id, temperature=0)
    assert not [i for i in again.output if i.type == "mcp_list_tools"], again.output


def mcp_failures():
    r = client.responses.create(model=MODEL, input=ECHO, temperature=0, tools=[MCP | {"server_url": sys.argv[3] + "/nowhere"}])
    listed = only(r, "mcp_list_tools")
    assert listed.tools == [] and listed.error.startswith("Error retrieving tool list from MCP server: 'peer'."), listed
    assert r.status == "completed"
    e = fails(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input="x", tools=[MCP | {"server_url": "https://10.0.0.1"}]))
    assert e.param == "tools[0].server_url", e.body


def mcp_call_that_fails():
    tool = MCP | {"allowed_tools": ["refuse"], "require_approval": "never"}
    r = client.responses.create(model=MODEL, input="Refuse the text Hello there.", temperature=0, tools=[tool])
    call = only(r, "mcp_call")
    assert call.status == "failed" and call.error.type == "mcp_tool_execution_error", call
    assert call.error.content[0]["text"] == "No.", call


def mcp_approval():
    first = client.responses.create(model=MODEL, input=ECHO, tools=[MCP], temperature=0)
    asked = only(first, "mcp_approval_request")
    assert (asked.server_label, asked.name) == ("peer", "echo") and "Hello there" in asked.arguments, asked
    second = client.responses.create(model=MODEL, tools=[MCP], temperature=0, previous_response_id=first.id,
                                     input=[{"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": True}])
    call = only(second, "mcp_call")
    assert call.approval_request_id == asked.id and "Hello there" in call.output and "Hello there" in second.output_text, second.output
    e = fails(openai.BadRequestError, lambda: client.responses.create(
        model=MODEL, tools=[MCP], previous_response_id=second.id,
        input=[{"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": True}]))
    assert e.param == "input[0].approval_request_id", e.body


def mcp_approval_stateless():
    conversation = [{"role": "user", "content": ECHO}]
    with client.responses.stream(model=MODEL, input=conversation, tools=[MCP], temperature=0, store=False) as stream:
        kinds = [e.item.type for e in stream if e.type == "response.output_item.done"]
        first = stream.get_final_response()
    assert kinds[-1] == "mcp_approval_request", kinds
    asked = only(first, "mcp_approval_request")
    conversation += first.output
    conversation.append({"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": False, "reason": "not now"})
    refused = client.responses.create(model=MODEL, input=conversation, tools=[MCP], temperature=0, store=False)
    assert not [i for i in refused.output if i.type == "mcp_call"] and refused.status == "completed", refused.output
    conversation[-1] = {"type": "mcp_approval_response", "approval_request_id": asked.id, "approve": True}
    second = client.responses.create(model=MODEL, input=conversation, tools=[MCP], temperature=0, store=False)
    assert "Hello there" in only(second, "mcp_call").output, second.output
    conversation += [i.model_dump(exclude_none=True) for i in second.output] + [{"role": "user", "content": "Thanks!"}]
    third = client.responses.create(model=MODEL, input=conversation, tools=[MCP], temperature=0, store=False)
    assert third.status == "completed" and not [i for i in third.output if i.type in ("mcp_call", "mcp_list_tools")], third.output


def code_interpreter_stateless():
    conversation = [{"role": "user", "content": PRODUCT}]
    first = client.responses.create(model=MODEL, input=conversation, tools=[PYTHON], include=["code_interpreter_call.outputs"],
                                    store=False, temperature=0)
    conversation += first.output
    conversation.append({"role": "user", "content": "Hello!"})
    second = client.responses.create(model=MODEL, input=conversation, tools=[PYTHON], store=False, temperature=0)
    assert second.status == "completed" and second.output_text.strip(), second
    assert second.usage.input_tokens > first.usage.input_tokens


def code_interpreter_in_a_container():
    container = client.containers.create(name="mine")
    try:
        tool = {"type": "code_interpreter", "container": container.id}
        for _ in range(2):
            r = client.responses.create(model=MODEL, input=PRODUCT, tools=[tool], temperature=0)
            assert only(r, "code_interpreter_call").container_id == container.id
            assert r.tools[0].container == container.id
    finally:
        client.containers.delete(container.id)
    e = fails(openai.NotFoundError, lambda: client.responses.create(model=MODEL, input="x", tools=[tool]))
    assert e.code == "container_not_found" and e.param == "tools[0].container", e.body


def models():
    assert MODEL in [m.id for m in client.models.list()]
    assert client.models.retrieve(MODEL).object == "model"
    fails(openai.NotFoundError, lambda: client.models.retrieve("gpt-none"))


def errors():
    e = fails(openai.BadRequestError, lambda: client.responses.create(model="gpt-none", input="x"))
    assert e.code == "model_not_found" and e.param == "model", e.body
    e = fails(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input=[{"role": "user", "content": 7}]))
    assert e.param and e.param.startswith("input[0]"), e.body
    e = fails(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input="x", temperature=7))
    assert e.param == "temperature", e.body
    e = fails(openai.BadRequestError, lambda: client.responses.create(
        model=MODEL, input=[{"type": "function_call_output", "output": "x"}]))
    assert e.param == "input[0].call_id", e.body
    e = fails(openai.APIStatusError, lambda: client.responses.create(model=MODEL, input="x", previous_response_id="resp_none"))
    assert e.status_code in (400, 404) and e.code == "previous_response_not_found", e.body
    e = fails(openai.BadRequestError, lambda: client.responses.create(model=MODEL, input="x", temperature=7, stream=True))
    assert e.param == "temperature"


def containers():
    c = client.containers.create(name="sdk", expires_after={"anchor": "last_active_at", "minutes": 5}, memory_limit="4g",
                                 network_policy={"type": "disabled"})
    assert c.status == "running" and c.expires_after.minutes == 5 and c.memory_limit == "256m", c  # what there is
    assert c.object == "container" and c.network_policy.type == "disabled", c
    assert client.containers.retrieve(c.id).name == "sdk"
    assert c.id in [found.id for found in client.containers.list(name="sdk", limit=1)]
    assert client.containers.delete(c.id) is None
    fails(openai.NotFoundError, lambda: client.containers.retrieve(c.id))


def container_files():
    c = client.containers.create(name="sdk")
    content = bytes(range(256)) * 1024
    files = [client.containers.files.create(c.id, file=(name, content, "application/x-mine")) for name in ("a.bin", "größe.bin")]
    assert [f.path for f in files] == ["/mnt/data/a.bin", "/mnt/data/größe.bin"], files
    assert {(f.bytes, f.source, f.container_id, f.object) for f in files} == {(len(content), "user", c.id, "container.file")}, files
    listed = client.containers.files.list(c.id, order="asc", limit=1)
    assert [f.to_dict() for f in listed] == [f.to_dict() for f in files]
    assert client.containers.files.retrieve(files[1].id, container_id=c.id).to_dict() == files[1].to_dict()
    got = client.containers.files.content.retrieve(files[0].id, container_id=c.id)
    assert got.read() == content and got.response.headers["content-type"] == "application/x-mine", got.response.headers
    assert client.containers.files.delete(files[0].id, container_id=c.id) is None
    assert [f.id for f in client.containers.files.list(c.id)] == [files[1].id]
    unnamed = client.containers.files.create(c.id, file=b"bytes alone")
    assert unnamed.bytes == 11, unnamed
    client.containers.delete(c.id)


def container_errors():
    c = client.containers.create(name="sdk")
    e = fails(openai.NotFoundError, lambda: client.containers.retrieve("cntr_none"))
    assert e.code == "container_not_found", e.body
    e = fails(openai.NotFoundError, lambda: client.containers.files.content.retrieve("cfile_none", container_id=c.id))
    assert e.code == "container_file_not_found", e.body
    e = fails(openai.BadRequestError, lambda: client.containers.files.create(c.id, file_id="file-1"))
    assert e.param == "file_id" and "multipart" in e.message, e.body
    e = fails(openai.BadRequestError, lambda: client.containers.create(name="sdk", memory_limit="64g"))
    assert e.param == "memory_limit", e.body
    e = fails(openai.APIStatusError, lambda: client.containers.files.create(c.id, file=("large", bytes((32 << 20) + 1))))
    assert e.status_code == 413 and e.code == "file_too_large", e.body
    client.containers.delete(c.id)


def asynchronous():
    async def ask(c):
        async with c.responses.stream(model=MODEL, input="Hello!", temperature=0) as stream:
            return (await stream.get_final_response()).output_text

    async def both():
        async with openai.AsyncOpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0, timeout=60) as c:
            return await asyncio.gather(*(ask(c) for _ in range(4)))

    answers = asyncio.run(both())
    assert len(set(answers)) == 1 and answers[0].strip(), answers


def fails(kind, call):
    try:
        result = call()
    except kind as e:
        assert e.type, e.body
        return e
    raise AssertionError(f"{kind.__name__} was not raised; got {result!r}")


CHECKS = [
    create_text, create_stream, stream_equals_create, stream_helper, stream_helper_function_call, parse,
    parse_pydantic_tool_by_force,
    function_call_with_previous_response_id, function_call_stateless, second_turn, stored, incomplete, models, errors,
    containers, container_files, container_errors, code_interpreter, code_interpreter_stream, code_interpreter_stateless,
    code_interpreter_in_a_container, plugin_stream, plugin_stateless, web_search_stream, web_search_stateless, mcp_stream, mcp_failures, mcp_call_that_fails, mcp_approval,
    mcp_approval_stateless, asynchronous,
]

for check in CHECKS:
    try:
        check()
        print("ok", check.__name__, flush=True)
    except Exception as e:  # noqa: BLE001, every failure is a line
        line = traceback.extract_tb(e.__traceback__)[1].lineno if len(traceback.extract_tb(e.__traceback__)) > 1 else 0
        print("FAIL", f"{check.__name__}: line {line}: {type(e).__name__}: {e}".replace("\n", " "), flush=True)
