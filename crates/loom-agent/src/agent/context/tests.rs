//! What of a conversation is sent.

use loom_wire::ToolCall;

use super::*;

/// Instructions, then turns of a question, a call, its result and an answer, of about 500 bytes each.
fn conversation(turns: usize) -> Vec<Arc<Message>> {
    let mut messages = vec![Message::system("Be brief.")];
    for turn in 0..turns {
        messages.push(Message::user(format!("question {turn} {}", "x".repeat(200))));
        messages.push(Message { tool_calls: vec![ToolCall::new("c", "t", "{}")], ..Message::assistant("") });
        messages.push(Message::tool("c", format!("result {turn}")));
        messages.push(Message::assistant(format!("answer {turn} {}", "y".repeat(200))));
    }
    messages.push(Message::user("and now?"));
    messages.into_iter().map(Arc::new).collect()
}

fn first_question(view: &[Arc<Message>]) -> String {
    view.iter().find(|message| message.role == Role::User).unwrap().text().chars().take(10).collect()
}

#[test]
fn whole_turns_go_from_the_oldest_on_once_the_limit_is_near() {
    let messages = conversation(10);
    let mut context = Context::new(ContextPolicy::Trim, Some(2_000), &messages);
    assert_eq!(context.near(&messages), None, "5 kB are 1250 tokens as long as nobody has counted");
    context.answered(&messages, Some(1_850));
    let cut = context.near(&messages).unwrap();
    let compacted = context.compact(&messages, &cut, None);
    assert_eq!((compacted.removed_turns, compacted.removed_messages), (4, 16));
    assert_eq!(compacted.tokens_before, Some(1_850));
    assert!(compacted.tokens_after.unwrap() <= 1_200, "{compacted:?}");
    let view = context.view(&messages);
    assert_eq!(view[0].role, Role::System);
    assert_eq!(first_question(&view), "question 4");
    assert_eq!(view.len(), messages.len() - 16);
    assert_eq!(context.near(&messages), None, "there is room again");
    let resumed = {
        let mut resumed = Context::new(ContextPolicy::Trim, None, &messages);
        resumed.resume(0, &context.to_keep("m"), "m");
        resumed
    };
    assert_eq!(resumed.view(&messages), view);
    assert_eq!(resumed.limit, Some(2_000));
}

#[test]
fn an_overflow_is_taken_at_its_word_and_twice_at_most() {
    let messages = conversation(10);
    let mut refusal = LlmError::new(ErrorKind::ContextLength, "too long");
    let mut blind = Context::new(ContextPolicy::Trim, None, &messages);
    let cut = blind.overflow(&messages, &refusal).unwrap();
    assert_eq!(blind.compact(&messages, &cut, None).removed_turns, 6, "half of it, in whole turns");
    let cut = blind.overflow(&messages, &refusal).unwrap();
    blind.compact(&messages, &cut, None);
    assert_eq!(blind.view(&messages).len(), 2, "instructions and the latest turn");
    assert_eq!(blind.overflow(&messages, &refusal), None);

    (refusal.context_limit, refusal.requested_tokens) = (Some(1_000), Some(2_000));
    let mut told = Context::new(ContextPolicy::Trim, None, &messages);
    let cut = told.overflow(&messages, &refusal).unwrap();
    let compacted = told.compact(&messages, &cut, None);
    assert_eq!(compacted.removed_turns, 8, "{compacted:?}");
    let mut keep = Context::new(ContextPolicy::Keep, Some(10), &messages);
    assert_eq!((keep.near(&messages), keep.overflow(&messages, &refusal)), (None, None));
    let mut alone = Context::new(ContextPolicy::Trim, Some(10), &[]);
    assert_eq!(alone.overflow(&[Arc::new(Message::user("long"))], &refusal), None, "nothing may go");
}

#[test]
fn a_summary_stands_for_what_is_gone_and_the_next_one_includes_it() {
    let messages = conversation(10);
    let mut context = Context::new(ContextPolicy::Summarize, Some(1_000), &messages);
    let cut = context.near(&messages).unwrap();
    let asked = context.summary_request(&messages, &cut);
    assert!(asked[1].text().contains("question 0") && asked[1].text().contains("[calls t with {}]"));
    assert!(!asked[1].text().contains("and now?"));
    context.compact(&messages, &cut, Some(Ok("They asked much.".into())));
    let view = context.view(&messages);
    assert!(view[1].role == Role::User && view[1].text().contains("They asked much."));

    let refusal = LlmError::new(ErrorKind::ContextLength, "too long");
    let cut = context.overflow(&messages, &refusal).unwrap();
    let asked = context.summary_request(&messages, &cut);
    assert!(asked[1].text().contains("They asked much.") && !asked[1].text().contains("question 0"));
    let compacted = context.compact(&messages, &cut, Some(Err("no connection".into())));
    assert_eq!(compacted.policy, ContextPolicy::Trim);
    assert_eq!(compacted.error.as_deref(), Some("no connection"));
    assert!(context.view(&messages)[1].text().contains("They asked much."), "better than none");
}

#[test]
fn a_conversation_that_was_emptied_meanwhile_is_sent() {
    let mut context = Context::new(ContextPolicy::Trim, None, &[]);
    context.resume(0, &serde_json::json!({"removed": 40, "summary": "old"}), "m");
    let messages = [Arc::new(Message::user("hi"))];
    assert_eq!(context.view(&messages)[..], messages[..]);
    context.resume(0, &serde_json::Value::Null, "m");
    context.resume(0, &serde_json::json!({"removed": "x"}), "m");
    assert_eq!(context.view(&messages)[..], messages[..]);
}
