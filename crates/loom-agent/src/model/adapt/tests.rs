//! Wordings of refusals, one line each: what Loom makes of them. The corpus has whole exchanges.

use std::sync::Arc;

use loom_wire::request::Written;
use loom_wire::{Message, Profile, Request, ToolCall, ToolChoice, ToolSpec, api_error};
use serde_json::{Value, json};

use super::{Adaptation, Leave};

/// A request with everything that may be refused.
fn request() -> Request {
    let mut thought = Message::assistant("x");
    thought.extra.insert("reasoning_content".to_owned(), "y".into());
    let mut calling = Message::assistant("");
    calling.content = None;
    calling.tool_calls = vec![ToolCall::new("call_1", "f", "{}")];
    let mut named = Message::user("Hi");
    named.name = Some("Ann".to_owned());
    let mut request = Request::new(vec![
        Message::system("A"),
        Message::new(loom_wire::Role::Developer, "B"),
        named,
        Message::user("Ho"),
        thought,
        Message::user("Hu"),
        calling,
        Message::tool("call_1", "r"),
        Message::user("?"),
    ]);
    request.tools =
        vec![ToolSpec { strict: Some(true), ..ToolSpec::new("f", "does f") }, ToolSpec::new("g", "does g")];
    request.tool_choice = Some(ToolChoice::Named("f".to_owned()));
    request.response_format = Some(
        json!({"type": "json_schema", "json_schema": {"name": "w", "strict": true, "schema": {"type": "object"}}}),
    );
    request.stream = true;
    for (name, value) in [
        ("temperature", json!(0.2)),
        ("top_p", json!(0.5)),
        ("top_k", json!(5)),
        ("seed", json!(1)),
        ("n", json!(1)),
        ("stop", json!(["x"])),
        ("logit_bias", json!({"1": 2})),
        ("presence_penalty", json!(0)),
        ("frequency_penalty", json!(0)),
        ("max_tokens", json!(9)),
        ("parallel_tool_calls", json!(false)),
        ("user", json!("u")),
    ] {
        request.params.insert(name.to_owned(), value);
    }
    request
}

/// What a refusal teaches about that request: the profile as JSON, or `null` and the parameter that it names.
fn lesson(status: u16, body: &str, may_drop: bool) -> (Value, Option<String>) {
    lesson_of(Profile { developer: Some(true), ..Profile::default() }, status, body, may_drop)
}

fn lesson_of(known: Profile, status: u16, body: &str, may_drop: bool) -> (Value, Option<String>) {
    let request = request();
    let mut adaptation = Adaptation::new(
        "test".to_owned(),
        format!("m{}", fastrand::u64(..)),
        known,
        Profile::default(),
        if may_drop { Leave::Parameters } else { Leave::Features },
    );
    let sent = adaptation.encode(&request, &Written::default()).unwrap().body;
    let mut error = api_error::from_http(status, body.as_bytes());
    if adaptation.cure(&mut error, &request, &sent) {
        (serde_json::to_value(&adaptation.learnt).unwrap(), None)
    } else {
        (Value::Null, error.param.clone())
    }
}

#[test]
fn wordings_and_what_they_teach() {
    let of = |message: &str| json!({"error": {"message": message}}).to_string();
    let with =
        |message: &str, param: &str| json!({"error": {"message": message, "param": param}}).to_string();
    let detail = |loc: Value, kind: &str, msg: &str| {
        json!({"detail": [{"loc": loc, "type": kind, "msg": msg}]}).to_string()
    };
    for (body, taught) in [
        // Tools.
        (of("Function call is not supported for this model."), json!({"tools": "prompt"})),
        (of("registry.ollama.ai/library/gemma3:4b does not support tools"), json!({"tools": "prompt"})),
        (of("`tool calling` is not supported with this model"), json!({"tools": "prompt"})),
        (of("`tools` is not supported by this model"), json!({"tools": "prompt"})),
        (of("Unrecognized request argument supplied: tools"), json!({"tools": "prompt"})),
        (of("该模型不支持函数调用"), json!({"tools": "prompt"})),
        (of("This model doesn't support tool use in streaming mode."), json!({"streaming": "never"})),
        (
            of("tools.0.function.strict: Extra inputs are not permitted"),
            json!({"leave_out": ["tools.strict"]}),
        ),
        (
            with("Unknown parameter: 'tools[0].function.strict'.", "tools[0].function.strict"),
            json!({"leave_out": ["tools.strict"]}),
        ),
        (of("json: unknown field \"strict\""), json!({"leave_out": ["tools.strict"]})),
        (
            of("This model doesn't support the toolConfig.toolChoice.any field."),
            json!({"tool_choice": "required"}),
        ),
        (of("tool_choice 'required' is incompatible with thinking enabled"), json!({"tool_choice": "auto"})),
        (
            of("The tool_choice parameter does not support being set to required or object in thinking mode"),
            json!({"tool_choice": "auto"}),
        ),
        (
            of("Unrecognized request argument supplied: parallel_tool_calls"),
            json!({"parallel_tool_calls": false}),
        ),
        // Answers.
        (of("json: unknown field \"stream_options\""), json!({"stream_usage": false})),
        (of("Unknown field: 'include_usage'"), json!({"stream_usage": false})),
        (
            detail(json!(["body", "stream_options"]), "extra_forbidden", "Extra inputs are not permitted"),
            json!({"stream_usage": false}),
        ),
        (
            of(
                "1 validation error for ChatCompletionRequest\nstream_options\n  Extra inputs are not permitted [type=extra_forbidden, input_value={'a': 'seed'}]",
            ),
            json!({"stream_usage": false}),
        ),
        (
            of("max_tokens is not supported, use max_completion_tokens"),
            json!({"max_tokens_field": "max_completion_tokens"}),
        ),
        (
            with(
                "Invalid value: 'json_schema'. Supported values are: 'text' and 'json_object'.",
                "response_format.type",
            ),
            json!({"response_format": "tool"}),
        ),
        (
            of("This model does not support response format `json_schema`. See supported models"),
            json!({"response_format": "tool"}),
        ),
        (of("response_format is not supported"), json!({"response_format": "tool"})),
        (
            of("'response_format.type' : value is not one of the allowed values ['text','json_object']"),
            json!({"response_format": "tool"}),
        ),
        (of("json mode cannot be combined with tool/function calling"), json!({"format_with_tools": false})),
        (of("Tool error: Grammar and tools are mutually exclusive"), json!({"format_with_tools": false})),
        (of("Cannot use custom grammar constraints with tools."), json!({"format_with_tools": false})),
        (
            of("Function calling with a response mime type: 'application/json' is unsupported"),
            json!({"format_with_tools": false}),
        ),
        // Roles.
        (
            with(
                "Invalid value: 'developer'. Supported values are: 'system', 'assistant', 'user', 'function', and 'tool'.",
                "messages[1].role",
            ),
            json!({"developer": false}),
        ),
        (
            detail(
                json!(["body", "messages", 1]),
                "union_tag_invalid",
                "Input tag 'developer' found using 'role' does not match any of the expected tags: 'system', 'user'",
            ),
            json!({"developer": false}),
        ),
        (
            of(
                "messages[1].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`",
            ),
            json!({"developer": false}),
        ),
        (
            with(
                "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                "messages[0].role",
            ),
            json!({"system": "user"}),
        ),
        (of("System role not supported"), json!({"system": "user"})),
        (of("System message must be at the beginning."), json!({"system": "first"})),
        (of("Only the first message can be a system message"), json!({"system": "first"})),
        (
            of(
                "messages: roles must alternate between \"user\" and \"assistant\", but found multiple \"user\" roles in a row",
            ),
            json!({"alternate_roles": true}),
        ),
        (
            of(
                "After the (optional) system message(s), user or tool message(s) should alternate with assistant message(s).",
            ),
            json!({"alternate_roles": true}),
        ),
        (of("Unexpected role 'user' after role 'tool'"), json!({"assistant_after_tool": true})),
        // History.
        (
            of("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9."),
            json!({"tool_call_ids": "short"}),
        ),
        (
            of("messages.6.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
            json!({"tool_call_ids": "short"}),
        ),
        (
            of(
                "'messages.4' : for 'role:assistant' the following must be satisfied[('messages.4' : property 'reasoning_content' is unsupported)]",
            ),
            json!({"leave_out": ["messages.reasoning_content"]}),
        ),
        (
            of(
                "'messages.2' : for 'role:user' the following must be satisfied[('messages.2' : property 'name' is unsupported)]",
            ),
            json!({"leave_out": ["messages.name"]}),
        ),
        (
            of(
                "thinking is enabled but reasoning_content is missing in assistant tool call message at index 6",
            ),
            json!({"reasoning_echo": "reasoning_content"}),
        ),
        (
            of("Function call is missing a thought_signature in functionCall parts."),
            json!({"thought_signatures": true}),
        ),
        (
            with("Invalid value for 'content': expected a string, got null.", "messages.[6].content"),
            json!({"call_content": "empty"}),
        ),
        (of("invalid message content type: <nil>"), json!({"call_content": "empty"})),
    ] {
        assert_eq!(lesson(400, &body, false), (taught, None), "{body}");
    }
}

#[test]
fn a_schema_that_no_grammar_can_say_is_not_held_to() {
    // vLLM 0.32, of a tool that Loom had made strict.
    let body = r#"{"error":{"message":"Invalid grammar specification: 'triggers'","type":"BadRequestError","param":null,"code":400}}"#;
    let vllm = Profile { strict_tools: Some(true), ..Profile::default() };
    assert_eq!(lesson_of(vllm, 400, body, false), (json!({"strict_tools": false}), None));
}

#[test]
fn knobs_are_named_by_the_callers_name() {
    for (body, name) in [
        (
            json!({"error": {"message": "Unsupported value: 'temperature' does not support 0.2 with this model.", "param": "temperature"}}),
            "temperature",
        ),
        (json!({"error": {"message": "Unrecognized request arguments supplied: top_k, n"}}), "top_k"),
        (
            json!({"message": "body.presence_penalty: property 'body.presence_penalty' is unsupported", "param": "presence_penalty"}),
            "presence_penalty",
        ),
        (
            json!({"error": {"message": "[\"At body -> frequency_penalty: Input should be greater than 0\"]"}}),
            "frequency_penalty",
        ),
        (
            json!({"error": {"message": "litellm.UnsupportedParamsError: bedrock does not support parameters: ['seed'], for model=x. To drop these, set `litellm.drop_params=True`"}}),
            "seed",
        ),
        (
            json!({"error": {"code": "1210", "message": "API 调用参数有误，请检查文档。temperature 参数非法"}}),
            "temperature",
        ),
        (
            json!({"error": {"message": "<400> InternalError.Algo.InvalidParameter: Range of top_p should be (0.0, 1.0]"}}),
            "top_p",
        ),
        (
            json!({"error": {"message": "Input validation error: `top_p` must be > 0.0 and < 1.0", "error_type": "validation"}}),
            "top_p",
        ),
        (
            json!({"error": {"code": "InvalidParameter", "message": "The parameter `logit_bias` specified in the request are not valid", "param": "logit_bias"}}),
            "logit_bias",
        ),
        (
            json!({"code": "invalid-argument", "error": "Argument not supported on this model: frequencyPenalty"}),
            "frequency_penalty",
        ),
        (json!({"error": {"message": "'user' is not a supported parameter"}}), "user"),
        (
            json!({"error": {"message": "invalid temperature: only 1 is allowed for this model"}}),
            "temperature",
        ),
    ] {
        let body = body.to_string();
        assert_eq!(lesson(400, &body, false), (Value::Null, Some(name.to_owned())), "{body}");
        let (taught, _) = lesson(400, &body, true);
        assert!(taught.is_object(), "{body}");
    }
}

#[test]
fn what_is_about_something_else_teaches_nothing() {
    for (status, message) in [
        (400, "Invalid schema for function 'f': 'array' is not valid under any of the given schemas"),
        (400, "The model is not available"),
        (400, "Bad Request"),
        (400, "the image is too large"),
        (401, "stream_options is not supported"),
        (429, "temperature is not supported"),
        (503, "System role not supported"),
        (404, "Not Found"),
    ] {
        let body = json!({"error": {"message": message}}).to_string();
        assert_eq!(lesson(status, &body, true).0, Value::Null, "{message}");
    }
    let mut quoting = request();
    quoting.messages.push(Arc::new(Message::user("Conversation roles must alternate, said vLLM. Why?")));
    let mut adaptation = Adaptation::new(
        "test".to_owned(),
        "quoting".to_owned(),
        Profile::default(),
        Profile::default(),
        Leave::Parameters,
    );
    let sent = adaptation.encode(&quoting, &Written::default()).unwrap().body;
    let body = json!({"error": {"message": "rejected: Conversation roles must alternate, said vLLM. Why?"}})
        .to_string();
    let mut error = api_error::from_http(400, body.as_bytes());
    assert!(!adaptation.cure(&mut error, &quoting, &sent));
}
