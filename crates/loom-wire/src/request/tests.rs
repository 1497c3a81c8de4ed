use super::*;
use crate::message::Content;
use crate::profile::{
    CallContent, FormatSupport, Grammar, IdForm, Streaming, SystemSupport, ToolChoiceSupport, ToolSupport,
};
use crate::tool::ToolCall;

fn sent(request: &Request, profile: &Profile) -> (Value, Vec<String>) {
    let encoded = encode(request, "m", profile).unwrap();
    let notes = encoded.notes.0.into_iter().map(|note| note.detail).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), notes)
}

fn messages(request: &Request, profile: &Profile) -> Vec<Value> {
    sent(request, profile).0["messages"].as_array().unwrap().clone()
}

fn asking(messages: Vec<Message>) -> Request {
    Request::new(messages)
}

fn calling(ids: &[&str]) -> Message {
    let mut message = Message::assistant("");
    message.content = None;
    message.tool_calls = ids.iter().map(|id| ToolCall::new(*id, "f", "{\"a\":1}")).collect();
    message
}

fn with_tools() -> Request {
    let mut request = asking(vec![Message::user("Hi")]);
    request.tools = vec![ToolSpec::new("f", "does f"), ToolSpec::new("g", "does g")];
    request
}

#[test]
fn an_ordinary_request_needs_no_note() {
    let mut request = with_tools();
    request
        .messages
        .extend([calling(&["1", "2"]), Message::tool("2", "b"), Message::tool("1", "a")].map(Arc::new));
    request.tool_choice = Some(ToolChoice::Named("f".to_owned()));
    request.params.insert("max_completion_tokens".to_owned(), 5.into());
    request.stream = true;
    let (body, notes) = sent(&request, &Profile::default());
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(body["max_tokens"], 5);
    assert_eq!(body["messages"].as_array().unwrap().len(), 4);
}

#[test]
fn each_call_gets_one_result_directly_after_it() {
    let text = |message: &Value| message["content"].as_str().unwrap_or("-").to_owned();
    let mend = |history: Vec<Message>| messages(&asking(history), &Profile::default());

    let mended = mend(vec![calling(&["1"]), Message::user("Never mind")]);
    assert_eq!((&mended[1]["role"], &mended[1]["tool_call_id"]), (&json!("tool"), &json!("1")));
    assert_eq!(text(&mended[2]), "Never mind");

    let mended = mend(vec![
        calling(&["1", "2"]),
        Message::tool("2", "b"),
        Message::user("?"),
        Message::tool("1", "a"),
    ]);
    assert_eq!(mended.iter().map(text).collect::<Vec<_>>(), ["-", "a", "b", "?"]);

    // Twice the same result, a result without an id, a result without a call, an id that is used again.
    let mended = mend(vec![calling(&["1"]), Message::tool("1", "a"), Message::tool("1", "again")]);
    assert_eq!(mended[2]["role"], "user");
    let mut nameless = Message::tool("", "a");
    nameless.tool_call_id = None;
    assert_eq!(mend(vec![calling(&["1"]), nameless])[1]["tool_call_id"], "1");
    assert_eq!(mend(vec![Message::user("?"), Message::tool("9", "x")])[1]["role"], "user");
    let mended = mend(vec![calling(&["0"]), calling(&["0"]), Message::tool("0", "second")]);
    assert_eq!(mended.iter().map(text).collect::<Vec<_>>()[3], "second");
    assert_eq!(mended.len(), 4);
}

#[test]
fn system_messages_where_the_endpoint_wants_them() {
    let history = || {
        asking(vec![
            Message::system("A"),
            Message::user("1"),
            Message::assistant("2"),
            Message::system("B"),
            Message::user("3"),
        ])
    };
    let first = Profile { system: Some(SystemSupport::First), ..Profile::default() };
    let sent = messages(&history(), &first);
    assert_eq!(sent[0], json!({"role": "system", "content": "A\n\nB"}));
    assert_eq!(sent.len(), 4);

    let none = Profile { system: Some(SystemSupport::User), ..Profile::default() };
    let sent = messages(&history(), &none);
    assert_eq!(sent[0], json!({"role": "user", "content": "A\n\nB\n\n1"}));

    let image = json!({"type": "image_url", "image_url": {"url": "data:"}});
    let with_image = asking(vec![Message::system("A"), Message::user(Content::Parts(vec![image.clone()]))]);
    assert_eq!(messages(&with_image, &none)[0]["content"], json!([{"type": "text", "text": "A"}, image]));
}

#[test]
fn turns_alternate_from_the_user_on() {
    let profile = Profile { alternate_roles: Some(true), ..Profile::default() };
    let history = asking(vec![
        Message::assistant("Hello"),
        Message::user("1"),
        Message::user("2"),
        Message::assistant("a"),
        Message::assistant("b"),
    ]);
    let sent = messages(&history, &profile);
    let roles: Vec<&str> = sent.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(sent[2]["content"], "1\n\n2");

    let profile = Profile { assistant_after_tool: Some(true), ..Profile::default() };
    let history = asking(vec![calling(&["1"]), Message::tool("1", "a"), Message::user("And?")]);
    assert_eq!(messages(&history, &profile)[2]["role"], "assistant");
}

#[test]
fn ids_in_nine_letters_and_digits() {
    let profile = Profile { tool_call_ids: Some(IdForm::Short), ..Profile::default() };
    let history = asking(vec![
        calling(&["toolu_01A09q90qw90lq917835lq9", "D681PevKs"]),
        Message::tool("toolu_01A09q90qw90lq917835lq9", "a"),
        Message::tool("D681PevKs", "b"),
    ]);
    let sent = messages(&history, &profile);
    let id = sent[0]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_eq!(sent[1]["tool_call_id"], id);
    assert_eq!(sent[2]["tool_call_id"], "D681PevKs");
}

#[test]
fn thinking_goes_back_where_it_is_wanted() {
    let profile = Profile { reasoning_echo: Some("reasoning_content".to_owned()), ..Profile::default() };
    let mut thought = Message::assistant("Hi");
    thought.reasoning = Some("Hm".to_owned());
    let history = asking(vec![Message::user("?"), thought, calling(&["1"]), Message::tool("1", "a")]);
    let sent = messages(&history, &profile);
    assert_eq!(sent[1]["reasoning_content"], "Hm");
    assert_eq!(sent[2]["reasoning_content"], " ");
    assert!(messages(&history, &Profile::default())[1].get("reasoning_content").is_none());

    let profile = Profile { thought_signatures: Some(true), ..Profile::default() };
    let call = &messages(&history, &profile)[2]["tool_calls"][0];
    assert!(call.pointer("/extra_content/google/thought_signature").is_some());
}

#[test]
fn tools_are_sent_strict_where_arguments_are_held_to_their_schema_only_so() {
    let mut request = with_tools();
    let strict = Profile { strict_tools: Some(true), ..Profile::default() };
    let (body, notes) = sent(&request, &strict);
    assert!(body["tools"][0]["function"]["strict"] == true && notes.is_empty(), "{body}");
    request.tools[0].strict = Some(false);
    assert_eq!(
        sent(&request, &strict).0["tools"][0]["function"]["strict"],
        false,
        "the caller's word counts"
    );
}

#[test]
fn tool_choice_goes_down_its_ladder() {
    let mut request = with_tools();
    request.tool_choice = Some(ToolChoice::Named("f".to_owned()));
    let at = |takes| Profile { tool_choice: Some(takes), ..Profile::default() };
    let (body, _) = sent(&request, &at(ToolChoiceSupport::Required));
    assert_eq!((body["tools"].as_array().unwrap().len(), &body["tool_choice"]), (1, &json!("required")));
    let (body, notes) = sent(&request, &at(ToolChoiceSupport::Auto));
    assert!(
        body.get("tool_choice").is_none()
            && body["messages"][0]["content"].as_str().unwrap().contains("\"f\"")
    );
    assert_eq!(notes.len(), 1);

    // llama-cpp-python: a name is taken, `required` is not.
    let (body, notes) = sent(&request, &at(ToolChoiceSupport::OnlyNamed));
    assert_eq!((&body["tool_choice"]["function"]["name"], notes.len()), (&json!("f"), 0));
    request.tool_choice = Some(ToolChoice::Required);
    let (body, _) = sent(&request, &at(ToolChoiceSupport::OnlyNamed));
    assert!(body.get("tool_choice").is_none() && body["messages"][0]["role"] == "system", "{body}");
    request.tools.truncate(1);
    let (body, _) = sent(&request, &at(ToolChoiceSupport::OnlyNamed));
    assert_eq!(body["tool_choice"]["function"]["name"], "f");

    request.tool_choice = Some(ToolChoice::None);
    assert!(sent(&request, &at(ToolChoiceSupport::Auto)).0.get("tools").is_none());

    let mut request = asking(vec![Message::user("Hi")]);
    request.tool_choice = Some(ToolChoice::Required);
    assert_eq!(sent(&request, &Profile::default()).1.len(), 1, "a demand that cannot be met is noted");
    request.tool_choice = Some(ToolChoice::Auto);
    assert!(sent(&request, &Profile::default()).1.is_empty());
}

#[test]
fn tools_in_the_prompt() {
    let mut request = with_tools();
    request.tool_choice = Some(ToolChoice::Required);
    request.params.insert("parallel_tool_calls".to_owned(), false.into());
    request.messages.extend(
        [calling(&["1", "2"]), Message::tool("1", "a"), Message::tool("2", "b"), Message::user("And?")]
            .map(Arc::new),
    );
    let profile = Profile { tools: Some(ToolSupport::Prompt), ..Profile::default() };
    let (body, _) = sent(&request, &profile);
    for field in ["tools", "tool_choice", "parallel_tool_calls"] {
        assert!(body.get(field).is_none(), "{field}");
    }
    let text = body["messages"].to_string();
    assert!(!text.contains("tool_calls") && !text.contains("\"tool\""), "{text}");
    assert_eq!(body["messages"][2]["content"].as_str().unwrap().matches("<tool_call>").count(), 2);
    assert_eq!(body["messages"][3]["content"].as_str().unwrap().matches("<tool_response>").count(), 2);
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("does g"));
}

fn typed(schema: &Value) -> Request {
    let mut request = asking(vec![Message::user("Hi")]);
    request.response_format =
        Some(json!({"type": "json_schema", "json_schema": {"name": "w", "schema": schema}}));
    request
}

#[test]
fn response_format_goes_down_its_ladder() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let mut request = typed(&schema);
    let at = |takes| Profile { response_format: Some(takes), ..Profile::default() };
    let told = |body: &Value| body["messages"][0]["content"].as_str().unwrap().contains("city");

    let (body, notes) = sent(&request, &at(FormatSupport::JsonSchema));
    assert!(body["response_format"]["json_schema"]["name"] == "w" && notes.is_empty());
    for (grammar, field, value) in [
        (Grammar::StructuredOutputs, "structured_outputs", json!({"json": schema})),
        (Grammar::GuidedJson, "guided_json", schema.clone()),
        (Grammar::JsonSchema, "json_schema", schema.clone()),
        (Grammar::Schema, "response_format", json!({"type": "json_object", "schema": schema})),
        (Grammar::Value, "response_format", json!({"type": "json_object", "value": schema})),
    ] {
        let profile = Profile { grammar: Some(grammar), ..at(FormatSupport::Grammar) };
        let (body, notes) = sent(&request, &profile);
        assert_eq!((&body[field], notes.len(), told(&body)), (&value, 1, false), "{grammar:?}");
        assert!(field == "response_format" || body.get("response_format").is_none());
    }
    let (body, notes) = sent(&request, &at(FormatSupport::Tool));
    assert_eq!(body["tools"][0]["function"]["parameters"], schema);
    assert_eq!(body["tool_choice"]["function"]["name"], "w");
    assert_eq!(body["parallel_tool_calls"], false);
    assert!(body.get("response_format").is_none() && notes.len() == 1 && !told(&body));
    assert!(encode(&request, "m", &at(FormatSupport::Tool)).unwrap().answer_is_call);
    // A grammar that is not known is no rung.
    assert_eq!(sent(&request, &at(FormatSupport::Grammar)).0, body);
    let words = Profile { tool_choice: Some(ToolChoiceSupport::Required), ..at(FormatSupport::Tool) };
    assert_eq!(sent(&request, &words).0["tool_choice"], "required");
    let (body, _) = sent(&request, &at(FormatSupport::JsonObject));
    assert!(body["response_format"] == json!({"type": "json_object"}) && told(&body));
    // Where no tool can be forced, or tools are on offer, that rung gives way.
    for profile in [
        Profile { tool_choice: Some(ToolChoiceSupport::Auto), ..at(FormatSupport::Tool) },
        Profile { tools: Some(ToolSupport::Prompt), ..at(FormatSupport::Tool) },
    ] {
        assert_eq!(sent(&request, &profile).0, body);
    }
    let (body, _) = sent(&request, &at(FormatSupport::Prompt));
    assert!(body.get("response_format").is_none() && told(&body));
    // An endpoint that has passed over it is told twice.
    let (body, notes) = sent(&request, &Profile { format_in_prompt: Some(true), ..Profile::default() });
    assert!(
        body["response_format"]["type"] == "json_schema" && told(&body) && notes[0].contains("passed over")
    );

    request.response_format = Some(json!({"type": "json_object"}));
    let (body, _) = sent(&request, &at(FormatSupport::JsonSchema));
    assert_eq!(body["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
    assert_eq!(sent(&request, &at(FormatSupport::Tool)).0["response_format"], json!({"type": "json_object"}));
    let word = Profile { json_word: Some(true), ..Profile::default() };
    assert_eq!(sent(&request, &word).0["messages"].as_array().unwrap().len(), 2);
}

#[test]
fn a_format_that_tools_leave_no_room_for_waits_or_is_told() {
    let mut request = typed(&json!({"type": "object", "properties": {"city": {"type": "string"}}}));
    request.tools = with_tools().tools;
    let apart = Profile { format_with_tools: Some(false), ..Profile::default() };
    let in_prompt = Profile { tools: Some(ToolSupport::Prompt), ..Profile::default() };

    assert!(sent(&request, &Profile::default()).0.get("response_format").is_some());
    for profile in [&apart, &in_prompt] {
        let (body, _) = sent(&request, profile);
        assert!(body.get("response_format").is_none());
        assert!(body["messages"][0]["content"].as_str().unwrap().contains("city"));
        let unchecked = Request { unchecked: true, ..request.clone() };
        let encoded = encode(&unchecked, "m", profile).unwrap();
        assert!(encoded.notes.0.iter().any(|note| note.rule == Rule::FormatAfterTools));
        assert!(!String::from_utf8(encoded.body).unwrap().contains("city"));
    }
    request.tools.clear();
    assert!(sent(&request, &apart).0.get("response_format").is_some());
}

#[test]
fn schemas_are_sent_in_the_form_that_is_taken() {
    let point = json!({"type": "object", "properties": {"x": {"type": "number"}}});
    let request = typed(&json!({
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/Point"}},
        "$defs": {"Point": point},
    }));
    let strict = Profile { strict_schema: Some(true), ..Profile::default() };
    let (body, notes) = sent(&request, &strict);
    let format = &body["response_format"]["json_schema"];
    assert!(format["strict"] == true && format["schema"]["required"] == json!(["at"]), "{format}");
    assert_eq!(notes.len(), 1);
    let inline = Profile { inline_refs: Some(true), ..Profile::default() };
    let (body, _) = sent(&request, &inline);
    assert_eq!(
        body["response_format"]["json_schema"]["schema"],
        json!({"type": "object", "properties": {"at": point}})
    );
}

#[test]
fn fields_are_left_out_and_respelled() {
    let mut request = with_tools();
    request.tools[0].strict = Some(true);
    request.params.insert("max_tokens".to_owned(), 5.into());
    request.params.insert("seed".to_owned(), 1.into());
    request.extra_body.insert("top_k".to_owned(), 2.into());
    Arc::make_mut(&mut request.messages[0]).name = Some("Ann".to_owned());
    request.messages.push(Arc::new(calling(&["1"])));
    request.messages.push(Arc::new(Message::tool("1", "a")));
    let profile = Profile {
        max_tokens_field: Some("max_completion_tokens".to_owned()),
        call_content: Some(CallContent::Empty),
        streaming: Some(Streaming::Always),
        stream_usage: Some(false),
        tools_without_reasoning: Some(true),
        leave_out: ["seed", "top_k", "tools.strict", "messages.name"].map(str::to_owned).to_vec(),
        ..Profile::default()
    };
    let (body, notes) = sent(&request, &profile);
    assert_eq!(body["max_completion_tokens"], 5);
    assert_eq!(body["reasoning_effort"], "none");
    assert!(body["stream"] == true && body.get("stream_options").is_none());
    assert!(body.get("seed").is_none() && body.get("top_k").is_none());
    assert!(body["messages"][0].get("name").is_none() && body["messages"][1]["content"] == "");
    assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], "f");
    assert!(!body["tools"].to_string().contains("strict"));
    assert_eq!(notes.len(), 9, "{notes:?}");
}

#[test]
fn what_a_tool_shows_is_shown_by_the_user_unless_the_endpoint_takes_it_from_tools() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
    let mut seen = Message::tool("1", "");
    seen.content = Some(Content::Parts(vec![json!({"type": "text", "text": "a dot"}), image.clone()]));
    let history =
        asking(vec![calling(&["1", "2"]), seen, Message::tool("2", "b"), Message::assistant("A dot.")]);
    let told = messages(&history, &Profile::default());
    assert_eq!(told[1], json!({"role": "tool", "tool_call_id": "1", "content": "a dot"}));
    assert_eq!(told[2]["content"], "b");
    assert_eq!(told[3]["role"], "user");
    assert_eq!(told[3]["content"][0]["text"], "(What the tool \"f\" returned:)");
    assert_eq!(told[3]["content"][1], image);
    assert_eq!(told[4]["role"], "assistant");

    let takes = Profile { tool_media: Some(true), ..Profile::default() };
    assert_eq!(messages(&history, &takes)[1]["content"][1], image);

    let prompted = Profile { tools: Some(ToolSupport::Prompt), ..Profile::default() };
    let told = messages(&history, &prompted);
    assert_eq!(told.iter().filter(|message| message.to_string().contains("image_url")).count(), 1);
}

#[test]
fn tools_go_into_the_prompt_when_asked_and_calls_are_written_as_the_model_writes_them() {
    let mut request = with_tools();
    request.tools_in_prompt = true;
    request.messages.extend([calling(&["1"]), Message::tool("1", "r")].map(Arc::new));
    let (body, notes) = sent(&request, &Profile::default());
    assert!(
        body.get("tools").is_none() && notes.iter().any(|note| note.contains("in the prompt")),
        "{notes:?}"
    );
    let told = &body["messages"];
    assert!(told[0]["content"].as_str().unwrap().contains("<tool_call>"));
    assert_eq!(told[2]["content"], "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n</tool_call>");

    let llama = Profile { tool_prompt: Some(crate::profile::ToolPrompt::Json), ..Profile::default() };
    let told = messages(&request, &llama);
    assert!(told[0]["content"].as_str().unwrap().contains("\"parameters\""));
    assert_eq!(told[2]["content"], "{\"name\":\"f\",\"parameters\":{\"a\":1}}");
}
