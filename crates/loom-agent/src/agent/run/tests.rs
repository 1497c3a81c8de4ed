//! The machine, driven by hand.

use super::*;
use loom_wire::{FinishReason, ToolSpec};
use serde_json::json;

fn calls(names: &[(&str, &str)]) -> Completion {
    Completion {
        tool_calls: names
            .iter()
            .enumerate()
            .map(|(at, (name, arguments))| ToolCall::new(format!("c{at}"), *name, arguments))
            .collect(),
        finish_reason: Some(FinishReason::ToolCalls),
        ..Completion::default()
    }
}

fn result(id: &str, content: &str) -> ToolResult {
    ToolResult { id: id.into(), content: content.into(), is_error: false }
}

fn with(options: RunOptions) -> Run {
    Run::new(vec![Arc::new(Message::user("hi"))], options)
}

fn offer(names: &[&str]) -> Offer {
    Offer::new(names.iter().map(|name| ToolSpec::new(*name, "")).collect())
}

fn answer(text: &str) -> Input {
    Input::Completion(Box::new(Completion { content: text.into(), ..Completion::default() }))
}

fn start(max_turns: u32) -> Run {
    with(RunLimits { max_turns, ..RunLimits::default() }.into())
}

#[test]
fn what_the_content_filter_stopped_is_not_executed() {
    let tools = offer(&["a"]);
    let mut run = start(5);
    run.step(Input::Start, &tools).unwrap();
    let stopped = Completion { finish_reason: Some(FinishReason::ContentFilter), ..calls(&[("a", "{}")]) };
    let step = run.step(Input::Completion(Box::new(stopped)), &tools);
    assert!(matches!(step, Ok(Step::CallModel(_))), "the model is told instead");
}

#[test]
fn a_stored_run_goes_on_where_it_stood_and_results_keep_the_order_of_the_calls() {
    let tools = offer(&["a", "b"]);
    let mut run = start(5);
    assert!(matches!(run.step(Input::Start, &tools), Ok(Step::CallModel(_))));
    let answer = calls(&[("a", "{}"), ("nope", "{}"), ("b", "{\"x\":"), ("b", "{}")]);
    let Ok(Step::CallTools(open)) = run.step(Input::Completion(Box::new(answer)), &tools) else { panic!() };
    assert_eq!(open.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["c0", "c3"]);
    run.step(Input::ToolResults(vec![result("c3", "three")]), &tools).unwrap();

    let stored = serde_json::to_string(&run).unwrap();
    let mut run: Run = serde_json::from_str(&stored).unwrap();
    let Ok(Step::CallTools(open)) = run.step(Input::Start, &tools) else { panic!() };
    assert_eq!(open.len(), 1);
    let Ok(Step::CallModel(request)) = run.step(Input::ToolResults(vec![result("c0", "zero")]), &tools)
    else {
        panic!()
    };
    let said: Vec<String> = request.messages.iter().skip(2).map(|message| message.text()).collect();
    assert_eq!(said[0], "zero");
    assert!(said[1].contains("there are: a, b"));
    assert!(said[2].contains("cut off"));
    assert_eq!(said[3], "three");
    let done = Completion { content: "fine".into(), ..Completion::default() };
    let Ok(Step::Done(message)) = run.step(Input::Completion(Box::new(done)), &tools) else { panic!() };
    assert_eq!(message.text(), "fine");
    assert_eq!(run.new_messages().len(), 6);
}

#[test]
fn the_limit_ends_a_run_and_keeps_the_transcript() {
    let tools = offer(&["a"]);
    let mut run = start(1);
    run.step(Input::Start, &tools).unwrap();
    run.step(Input::Completion(Box::new(calls(&[("a", "{}")]))), &tools).unwrap();
    match run.step(Input::ToolResults(vec![result("c0", "x")]), &tools) {
        Err(AgentError::Recursion { limit: 1, run }) => assert_eq!(run.messages().len(), 3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn usage_is_the_sum_of_the_turns_and_unknown_if_one_is() {
    let tools = offer(&["a"]);
    let usage = |n| {
        Some(Usage {
            prompt_tokens: Some(n),
            completion_tokens: Some(1),
            total_tokens: Some(n + 1),
            ..Usage::default()
        })
    };
    for (second, expected) in [(usage(5), Some(8)), (None, None)] {
        let mut run = start(5);
        run.step(Input::Start, &tools).unwrap();
        run.step(
            Input::Completion(Box::new(Completion { usage: usage(3), ..calls(&[("a", "{}")]) })),
            &tools,
        )
        .unwrap();
        run.step(Input::ToolResults(vec![result("c0", "x")]), &tools).unwrap();
        let last = Completion { content: "x".into(), usage: second, ..Completion::default() };
        let Ok(Step::Done(message)) = run.step(Input::Completion(Box::new(last)), &tools) else { panic!() };
        assert_eq!(message.usage.and_then(|usage| usage.prompt_tokens), expected);
    }
}

#[test]
fn held_calls_pause_the_run_and_are_decided_in_another_process() {
    let tools = offer(&["a", "b"]);
    let mut run = start(5);
    run.step(Input::Start, &tools).unwrap();
    let Ok(Step::CallTools(open)) =
        run.step(Input::Completion(Box::new(calls(&[("a", "{}"), ("b", "{}"), ("b", "{}")]))), &tools)
    else {
        panic!()
    };
    assert_eq!(open.len(), 3);
    let Ok(Step::CallTools(open)) = run.step(Input::Held(vec!["c1".into(), "c2".into()]), &tools) else {
        panic!()
    };
    assert_eq!(open.iter().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["c0"], "the others go on");
    let Ok(Step::Pause(held)) = run.step(Input::ToolResults(vec![result("c0", "zero")]), &tools) else {
        panic!()
    };
    assert_eq!(held.len(), 2);

    let mut run = Run::from_json(&run.to_json()).unwrap();
    assert!(matches!(run.step(Input::Start, &tools), Ok(Step::Pause(held)) if held.len() == 2));
    assert!(run.approve(Some("c0")).is_err(), "it waits for nothing");
    run.approve(Some("c1")).unwrap();
    run.deny(None, "too dear").unwrap();
    let Ok(Step::CallTools(open)) = run.step(Input::Start, &tools) else { panic!() };
    assert!(open.len() == 1 && run.is_approved("c1"));
    let Ok(Step::CallModel(request)) = run.step(Input::ToolResults(vec![result("c1", "one")]), &tools) else {
        panic!()
    };
    let said: Vec<String> = request.messages.iter().skip(2).map(|message| message.text()).collect();
    assert_eq!(said[..2], ["zero", "one"]);
    assert!(said[2].contains("denied this call: too dear"), "{}", said[2]);
}

#[test]
fn a_run_of_a_later_version_or_of_something_else_is_refused() {
    let later = start(1).to_json().replace("\"version\":1", "\"version\":99");
    for (text, why) in
        [(later.as_str(), "version 99"), ("{}", "no version"), ("[]", "no stored run"), ("{", "no stored")]
    {
        let error = Run::from_json(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn arguments_are_held_to_the_schema_and_read_where_there_is_one_reading() {
    let mut spec = ToolSpec::new("a", "");
    spec.parameters = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let tools = Offer::new(vec![spec]);
    let mut run = start(9);
    run.step(Input::Start, &tools).unwrap();
    let mut ask = |arguments: &str| {
        let step = run.step(Input::Completion(Box::new(calls(&[("a", arguments)]))), &tools).unwrap();
        match step {
            Step::CallTools(open) => {
                run.step(Input::ToolResults(vec![result("c0", "x")]), &tools).unwrap();
                Ok(open[0].arguments.clone())
            }
            _ => Err(run.messages().last().unwrap().text()),
        }
    };
    assert_eq!(ask(r#"{"n": "3"}"#).unwrap(), r#"{"n":3}"#);
    let told = ask(r#"{"n": "three"}"#).unwrap_err();
    assert!(told.contains("/n: ") && told.contains("integer"), "{told}");
    assert!(ask("{}").unwrap_err().contains("\"n\" is a required property"));
}

#[test]
fn a_model_that_only_makes_invalid_calls_is_stopped() {
    let tools = offer(&["a"]);
    let mut run = with(RunLimits { max_invalid_calls: 2, ..RunLimits::default() }.into());
    run.step(Input::Start, &tools).unwrap();
    for _ in 0..2 {
        let step = run.step(Input::Completion(Box::new(calls(&[("nope", "{}")]))), &tools);
        assert!(matches!(step, Ok(Step::CallModel(_))));
    }
    let error = run.step(Input::Completion(Box::new(calls(&[("nope", "{}")]))), &tools).unwrap_err();
    assert!(matches!(error, AgentError::Limit { limit: Limit::InvalidCalls, .. }), "{error}");
    assert_eq!(error.transcript().len(), 6, "the answer is there: {:?}", error.transcript());
}

#[test]
fn the_same_call_with_the_same_result_is_not_made_for_ever() {
    let tools = offer(&["a"]);
    let mut run = start(20);
    run.step(Input::Start, &tools).unwrap();
    let mut executed = 0;
    let error = loop {
        match run.step(Input::Completion(Box::new(calls(&[("a", "{}")]))), &tools) {
            Ok(Step::CallTools(_)) => {
                executed += 1;
                run.step(Input::ToolResults(vec![result("c0", "x")]), &tools).unwrap();
            }
            Ok(_) => assert!(run.messages().last().unwrap().text().contains("made before 3 times")),
            Err(error) => break error,
        }
    };
    assert_eq!(executed, 3);
    assert!(matches!(error, AgentError::Limit { limit: Limit::RepeatedCalls, .. }), "{error}");

    // What changes is polled as often as the model likes.
    let mut run = start(20);
    run.step(Input::Start, &tools).unwrap();
    for time in 0..10 {
        let step = run.step(Input::Completion(Box::new(calls(&[("a", "{}")]))), &tools);
        assert!(matches!(step, Ok(Step::CallTools(_))), "{time}");
        run.step(Input::ToolResults(vec![result("c0", &time.to_string())]), &tools).unwrap();
    }
}

#[test]
fn each_limit_ends_the_run_with_its_own_error_and_can_be_raised() {
    let tools = offer(&["a"]);
    let usage = Usage { prompt_tokens: Some(900), completion_tokens: Some(100), ..Usage::default() };
    let prices = Some(Prices { input: 1.0, output: 10.0, cached_input: None });
    for (limits, limit, after_tools) in [
        (RunLimits { max_tool_calls: Some(0), ..RunLimits::default() }, Limit::ToolCalls, false),
        (RunLimits { max_total_tokens: Some(1000), ..RunLimits::default() }, Limit::Tokens, false),
        (RunLimits { max_cost: Some(0.0018), prices, ..RunLimits::default() }, Limit::Cost, false),
        (RunLimits { max_seconds: Some(1.0), ..RunLimits::default() }, Limit::Time, true),
    ] {
        let mut run = with(limits.into());
        run.step(Input::Start, &tools).unwrap();
        let turn = Completion { usage: Some(usage), ..calls(&[("a", "{}")]) };
        let mut step = run.step(Input::Completion(Box::new(turn)), &tools);
        if after_tools {
            run.add_seconds(2.0);
            step = run.step(Input::ToolResults(vec![result("c0", "x")]), &tools);
        }
        let error = step.unwrap_err();
        assert!(matches!(&error, AgentError::Limit { limit: reached, .. } if *reached == limit), "{error}");

        let mut run = Run::from_json(&error.run().unwrap().to_json()).unwrap();
        *run.limits_mut() = RunLimits::default();
        let step = run.step(Input::Start, &tools).unwrap();
        assert!(matches!(step, Step::CallTools(_) | Step::CallModel(_)), "{step:?}");
    }
    assert!(RunLimits { max_cost: Some(1.0), ..RunLimits::default() }.check().is_err(), "no prices");
}

#[test]
fn tokens_that_the_server_does_not_count_are_estimated_where_a_limit_needs_them() {
    let tools = offer(&["a"]);
    let mut run = with(RunLimits { max_total_tokens: Some(50), ..RunLimits::default() }.into());
    run.step(Input::Start, &tools).unwrap();
    let long = Completion { content: "x".repeat(400), ..calls(&[("a", "{}")]) };
    let error = run.step(Input::Completion(Box::new(long)), &tools).unwrap_err();
    assert!(matches!(&error, AgentError::Limit { limit: Limit::Tokens, .. }), "{error}");
    assert!(run.ledger().iter().any(|entry| entry.rule == Rule::UsageEstimated));
}

#[test]
fn a_tool_choice_is_told_once_more_and_then_an_error() {
    let tools = offer(&["a", "b"]);
    let options = || RunOptions {
        tool_choice: Some(ToolChoice::Named("b".into())),
        output: Some(Output::new("answer", json!({"type": "object"})).unwrap()),
        ..RunOptions::default()
    };
    let mut run = with(options());
    let Ok(Step::CallModel(request)) = run.step(Input::Start, &tools) else { panic!() };
    assert_eq!(request.tool_choice, Some(ToolChoice::Named("b".into())));
    let Ok(Step::CallModel(request)) = run.step(answer("no"), &tools) else { panic!() };
    assert!(request.messages.last().unwrap().text().contains("the tool \"b\" now"));
    // llama.cpp passes over a name, and over any choice beside a format.
    assert_eq!(request.tool_choice, Some(ToolChoice::Required));
    assert!(request.tools.len() == 1 && request.tools[0].name == "b" && request.response_format.is_none());
    assert!(run.ledger().iter().any(|entry| entry.rule == Rule::ToolChoiceIgnored));
    let mut stubborn = run.clone();
    let error = stubborn.step(answer("no"), &tools).unwrap_err();
    assert!(matches!(error, AgentError::ToolChoice { .. }), "{error}");

    // Another tool than the one named is not called; once the named one was, the model is free.
    let step = run.step(Input::Completion(Box::new(calls(&[("a", "{}"), ("b", "{}")]))), &tools).unwrap();
    assert!(matches!(&step, Step::CallTools(open) if open.len() == 1 && open[0].name == "b"));
    let Ok(Step::CallModel(request)) = run.step(Input::ToolResults(vec![result("c1", "x")]), &tools) else {
        panic!()
    };
    assert_eq!((request.tool_choice, request.tools.len()), (None, 2));
    assert!(request.response_format.is_some());
    assert!(matches!(run.step(answer("{}"), &tools), Ok(Step::Done(_))));
}

fn typed(schema: serde_json::Value) -> RunOptions {
    RunOptions { output: Some(Output::new("answer", schema).unwrap()), ..RunOptions::default() }
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_again_a_bounded_number_of_times() {
    let none = offer(&[]);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let mut run = with(typed(schema));
    let Ok(Step::CallModel(request)) = run.step(Input::Start, &none) else { panic!() };
    assert_eq!(request.response_format.unwrap()["json_schema"]["schema"]["required"], json!(["n"]));
    for wrong in ["sorry", r#"{"n": "many"}"#] {
        let Ok(Step::CallModel(request)) = run.step(answer(wrong), &none) else { panic!() };
        assert!(request.messages.last().unwrap().text().starts_with("This answer cannot be used"));
    }
    let mut hopeless = run.clone();
    let error = hopeless.step(answer("{}"), &none).unwrap_err();
    assert!(error.to_string().contains("\"n\" is a required property"), "{error}");

    let Ok(Step::Done(message)) = run.step(answer("```json\n{\"n\": \"7\"}\n```"), &none) else { panic!() };
    assert_eq!(message.parsed, Some(json!({"n": 7})));
    assert_eq!(message.text(), "{\"n\": \"7\"}");
    assert_eq!(message.ledger.iter().filter(|entry| entry.rule == Rule::OutputRepaired).count(), 2);
}

#[test]
fn a_value_that_is_no_object_is_wrapped_and_taken_as_models_give_it() {
    let none = offer(&[]);
    for (schema, said, value) in [
        (json!({"type": "array", "items": {"type": "integer"}}), r#"{"value": [1, 2]}"#, json!([1, 2])),
        (json!({"type": "array", "items": {"type": "integer"}}), "[1, 2]", json!([1, 2])),
        (json!({"enum": ["yes", "no"]}), "Yes", json!("yes")),
        (json!({"type": "integer"}), "42", json!(42)),
        (
            json!({"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}),
            "[\"1\"]",
            json!([1]),
        ),
    ] {
        let mut run = with(typed(schema));
        run.step(Input::Start, &none).unwrap();
        let step = run.step(answer(said), &none).unwrap();
        assert!(
            matches!(&step, Step::Done(message) if message.parsed == Some(value.clone())),
            "{said}: {step:?}"
        );
    }
}

#[test]
fn where_the_format_does_not_go_with_tools_it_is_asked_for_when_they_are_done_at_no_charge() {
    let tools = offer(&["a"]);
    let mut options = typed(json!({"type": "object", "required": ["n"]}));
    if let Some(output) = &mut options.output {
        output.max_retries = 0;
    }
    let mut run = with(options);
    run.step(Input::Start, &tools).unwrap();
    let entry = LedgerEntry::new(Rule::FormatAfterTools, "");
    let prose = Completion { content: "It is 3.".into(), ledger: vec![entry], ..Completion::default() };
    let Ok(Step::CallModel(request)) = run.step(Input::Completion(Box::new(prose)), &tools) else { panic!() };
    assert!(request.tools.is_empty() && request.response_format.is_some());
    assert!(request.messages.last().unwrap().text().starts_with("Now give the answer"));
    let error = run.clone().step(answer("3"), &tools).unwrap_err();
    assert!(matches!(&error, AgentError::Output { text, .. } if text == "3"), "{error}");
    assert!(matches!(run.step(answer(r#"{"n": 3}"#), &tools), Ok(Step::Done(_))));
}
