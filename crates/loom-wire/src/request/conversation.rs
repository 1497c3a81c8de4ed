//! The messages in the order and form that the endpoint takes.
//!
//! The ordinary conversation is only looked at, not copied. Each step leaves what it was given alone unless the profile
//! or the conversation itself gives a reason.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::features::Features;
use super::{Notes, prompt};
use crate::ledger::Rule;
use crate::message::{Content, Message, Role};
use crate::profile::{IdForm, Profile, SystemSupport, ToolPrompt};

type Conversation<'a> = Cow<'a, [Arc<Message>]>;

/// The messages as they are sent.
pub(super) fn prepare<'a>(
    messages: &'a [Arc<Message>],
    profile: &Profile,
    features: &Features<'_>,
    notes: &mut Notes,
) -> Conversation<'a> {
    let mut conversation = Cow::Borrowed(messages);
    if !has_its_results(&conversation) {
        conversation = Cow::Owned(mended(&conversation, notes));
    }
    if profile.tool_media != Some(true) {
        media_after_results(&mut conversation, notes);
    }
    if features.prompted {
        write_calls_as_text(&mut conversation, profile.tool_prompt, notes);
    }
    if !features.instructions.is_empty() {
        instruct(&mut conversation, &features.instructions.join("\n\n"));
    }
    match profile.system {
        None | Some(SystemSupport::Any) => {}
        Some(SystemSupport::First) => one_system_message(&mut conversation, notes),
        Some(SystemSupport::User) => no_system_message(&mut conversation, notes),
    }
    if profile.assistant_after_tool == Some(true) {
        bridge_tools_and_user(&mut conversation, notes);
    }
    if profile.alternate_roles == Some(true) {
        one_system_message(&mut conversation, notes);
        take_turns(&mut conversation, notes);
    }
    if profile.tool_call_ids == Some(IdForm::Short) {
        shorten_ids(&mut conversation, notes);
    }
    if let Some(field) = &profile.reasoning_echo {
        echo_reasoning(&mut conversation, field, notes);
    }
    if profile.thought_signatures == Some(true) {
        sign_calls(&mut conversation, notes);
    }
    if let Some(field) = &profile.prefill_field {
        mark_prefill(&mut conversation, field, notes);
    }
    conversation
}

/// The message at that place, to be changed.
fn at<'c>(conversation: &'c mut Conversation<'_>, place: usize) -> Option<&'c mut Message> {
    conversation.to_mut().get_mut(place).map(Arc::make_mut)
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

/// Whether each call has exactly one result, directly after it, and each result has a call: servers demand that
/// (OpenAI, vLLM, DeepSeek).
fn has_its_results(messages: &[Arc<Message>]) -> bool {
    let mut rest = messages.iter().peekable();
    while let Some(message) = rest.next() {
        if message.role == Role::Tool {
            return false;
        }
        if message.role != Role::Assistant || message.tool_calls.is_empty() {
            continue;
        }
        let mut answered = Vec::with_capacity(message.tool_calls.len());
        while let Some(result) = rest.next_if(|next| next.role == Role::Tool) {
            answered.push(result.tool_call_id.as_deref().unwrap_or_default());
        }
        let fits = |id: &str| {
            let calls = message.tool_calls.iter().filter(|call| call.id == id).count();
            calls == answered.iter().filter(|answer| **answer == id).count()
        };
        if answered.len() != message.tool_calls.len() || !message.tool_calls.iter().all(|call| fits(&call.id))
        {
            return false;
        }
    }
    true
}

/// Puts each result directly after its call, makes one for a call that has none, and lets the user tell a result that
/// has no call.
fn mended(messages: &[Arc<Message>], notes: &mut Notes) -> Vec<Arc<Message>> {
    let mut used = vec![false; messages.len()];
    let mut mended = Vec::with_capacity(messages.len() + 1);
    for (place, message) in messages.iter().enumerate() {
        if used.get(place) == Some(&true) {
            continue;
        }
        if message.role == Role::Tool {
            notes.note(Rule::HistoryMended, "a tool's result without its call: told by the user");
            mended.push(Arc::new(Message::user(prompt::stray_result(&message.text()))));
            continue;
        }
        mended.push(Arc::clone(message));
        if message.role != Role::Assistant {
            continue;
        }
        for call in &message.tool_calls {
            let mut between = false;
            let mut found = None;
            for (later, candidate) in messages.iter().enumerate().skip(place + 1) {
                if candidate.role != Role::Tool {
                    // The same id may be used again by a later turn (TGI, Kimi).
                    if candidate.tool_calls.iter().any(|other| other.id == call.id) {
                        break;
                    }
                    between = true;
                    continue;
                }
                let id = candidate.tool_call_id.as_deref().unwrap_or_default();
                if used.get(later) == Some(&false) && (id == call.id || (id.is_empty() && !between)) {
                    found = Some((later, candidate));
                    break;
                }
            }
            let Some((later, result)) = found else {
                notes.note(
                    Rule::HistoryMended,
                    format!("a result for the call {:?}, which had none", call.name),
                );
                mended.push(Arc::new(Message::tool(&call.id, prompt::NO_RESULT)));
                continue;
            };
            if let Some(used) = used.get_mut(later) {
                *used = true;
            }
            if between {
                notes.note(Rule::HistoryMended, format!("the result of {:?} moved to its call", call.name));
            }
            let mut result = Arc::clone(result);
            if result.tool_call_id.as_deref() != Some(&call.id) {
                notes.note(Rule::HistoryMended, format!("the result of {:?} got its call's id", call.name));
                Arc::make_mut(&mut result).tool_call_id = Some(call.id.clone());
            }
            mended.push(result);
        }
    }
    mended
}

/// Lets the user show what a tool returned beside text, behind the results of the turn.
fn media_after_results(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    let has_parts =
        |message: &Message| message.role == Role::Tool && matches!(message.content, Some(Content::Parts(_)));
    if !conversation.iter().any(|message| has_parts(message)) {
        return;
    }
    let mut told: Vec<Arc<Message>> = Vec::with_capacity(conversation.len() + 1);
    let mut names: Vec<(String, String)> = Vec::new();
    let mut shown: Vec<Value> = Vec::new();
    for message in conversation.iter() {
        if message.role != Role::Tool && !shown.is_empty() {
            told.push(Arc::new(Message::user(std::mem::take(&mut shown))));
        }
        names.extend(message.tool_calls.iter().map(|call| (call.id.clone(), call.name.clone())));
        let Some(Content::Parts(parts)) = message.content.as_ref().filter(|_| has_parts(message)) else {
            told.push(Arc::clone(message));
            continue;
        };
        let is_text = |part: &&Value| part.get("type").is_some_and(|kind| kind == "text");
        let media: Vec<Value> = parts.iter().filter(|part| !is_text(part)).cloned().collect();
        let mut result = Message::clone(message);
        let mut text = message.text();
        if !media.is_empty() {
            notes.respelled("what a tool returned beside text is shown by the user");
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let name = names.iter().rev().find(|(call, _)| call == id).map_or("", |(_, name)| name);
            shown.push(json!({"type": "text", "text": prompt::returned(name)}));
            shown.extend(media);
            if text.is_empty() {
                text.push_str(prompt::SEE_BELOW);
            }
        }
        result.content = Some(Content::Text(text));
        told.push(Arc::new(result));
    }
    if !shown.is_empty() {
        told.push(Arc::new(Message::user(shown)));
    }
    *conversation = Cow::Owned(told);
}

/// Where tools stand in the prompt, calls and results are text as well: such servers do not know the role `tool`.
fn write_calls_as_text(conversation: &mut Conversation<'_>, form: Option<ToolPrompt>, notes: &mut Notes) {
    if !conversation.iter().any(|message| message.role == Role::Tool || !message.tool_calls.is_empty()) {
        return;
    }
    notes.adapted("calls and results written as text");
    let mut written: Vec<Arc<Message>> = Vec::with_capacity(conversation.len());
    let mut after_result = false;
    for message in conversation.iter() {
        let is_result = message.role == Role::Tool;
        if is_result {
            let text = prompt::result(&message.text());
            match written.last_mut().filter(|_| after_result) {
                Some(last) => append(Arc::make_mut(last), Content::Text(text), "\n"),
                None => written.push(Arc::new(Message::user(text))),
            }
        } else if message.tool_calls.is_empty() {
            written.push(Arc::clone(message));
        } else {
            let mut spoken = Message::clone(message);
            let calls = prompt::calls(&std::mem::take(&mut spoken.tool_calls), form);
            append(&mut spoken, Content::Text(calls), "\n");
            written.push(Arc::new(spoken));
        }
        after_result = is_result;
    }
    *conversation = Cow::Owned(written);
}

/// Adds to the instructions.
fn instruct(conversation: &mut Conversation<'_>, text: &str) {
    match conversation.iter().position(|message| is_system(message)) {
        Some(place) => {
            if let Some(message) = at(conversation, place) {
                append(message, Content::Text(text.to_owned()), "\n\n");
            }
        }
        None => conversation.to_mut().insert(0, Arc::new(Message::system(text))),
    }
}

fn one_system_message(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    if !conversation.iter().skip(1).any(|message| is_system(message)) {
        return;
    }
    notes.adapted("one system message, at the beginning");
    let text = take_instructions(conversation);
    conversation.to_mut().insert(0, Arc::new(Message::system(text)));
}

fn no_system_message(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    if !conversation.iter().any(|message| is_system(message)) {
        return;
    }
    notes.adapted("the system message moved into the user's first");
    let text = take_instructions(conversation);
    match conversation.iter().position(|message| message.role == Role::User) {
        Some(place) => {
            if let Some(message) = at(conversation, place) {
                let said = message.content.replace(Content::Text(text));
                append(message, said.unwrap_or_else(|| Content::Text(String::new())), "\n\n");
            }
        }
        None => conversation.to_mut().insert(0, Arc::new(Message::user(text))),
    }
}

/// Takes the system messages out and returns their text.
fn take_instructions(conversation: &mut Conversation<'_>) -> String {
    let messages = conversation.to_mut();
    let texts: Vec<String> = messages
        .iter()
        .filter(|message| is_system(message))
        .map(|message| message.text())
        .filter(|text| !text.is_empty())
        .collect();
    messages.retain(|message| !is_system(message));
    texts.join("\n\n")
}

fn bridge_tools_and_user(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    let places: Vec<usize> = conversation
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| matches!(pair, [before, after] if before.role == Role::Tool && after.role == Role::User))
        .map(|(place, _)| place + 1)
        .collect();
    for place in places.iter().rev() {
        conversation.to_mut().insert(*place, Arc::new(Message::assistant(prompt::BRIDGE)));
    }
    if !places.is_empty() {
        notes.adapted("the assistant speaks between a tool's result and the user");
    }
}

/// Joins neighbours of one role, and lets the user begin.
fn take_turns(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    let speaks = |message: &Message| matches!(message.role, Role::User | Role::Assistant);
    let neighbours = |pair: &[Arc<Message>]| matches!(pair, [a, b] if speaks(a) && a.role == b.role);
    if conversation.windows(2).any(neighbours) {
        notes.adapted("neighbouring messages of one role joined");
        let mut joined: Vec<Arc<Message>> = Vec::with_capacity(conversation.len());
        for message in conversation.iter() {
            match joined.last_mut().filter(|last| speaks(last) && last.role == message.role) {
                Some(last) => {
                    let last = Arc::make_mut(last);
                    if let Some(content) = &message.content {
                        append(last, content.clone(), "\n\n");
                    }
                    last.tool_calls.extend_from_slice(&message.tool_calls);
                }
                None => joined.push(Arc::clone(message)),
            }
        }
        *conversation = Cow::Owned(joined);
    }
    let first = conversation.iter().position(|message| !is_system(message));
    if let Some(place) =
        first.filter(|place| conversation.get(*place).is_some_and(|it| it.role == Role::Assistant))
    {
        notes.adapted("the user begins the conversation");
        conversation.to_mut().insert(place, Arc::new(Message::user(prompt::OPENING)));
    }
}

/// Adds content to a message.
fn append(message: &mut Message, more: Content, between: &str) {
    let parts = |content: Content| match content {
        Content::Parts(parts) => parts,
        Content::Text(text) if text.is_empty() => Vec::new(),
        Content::Text(text) => vec![json!({"type": "text", "text": text})],
    };
    message.content = Some(match (message.content.take(), more) {
        (None, more) => more,
        (Some(Content::Text(text)), more) if text.is_empty() => more,
        (Some(Content::Text(text)), Content::Text(more)) if more.is_empty() => Content::Text(text),
        (Some(Content::Text(text)), Content::Text(more)) => Content::Text(format!("{text}{between}{more}")),
        (Some(content), more) => {
            let mut all = parts(content);
            all.extend(parts(more));
            Content::Parts(all)
        }
    });
}

fn shorten_ids(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    let fits = |id: &str| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let mut short: Vec<(String, String)> = Vec::new();
    for message in conversation.iter() {
        let ids =
            message.tool_calls.iter().map(|call| call.id.as_str()).chain(message.tool_call_id.as_deref());
        for id in ids {
            if !fits(id) && !short.iter().any(|(long, _)| long == id) {
                let mut seed = 0;
                let mut made = short_id(id, seed);
                while short.iter().any(|(_, taken)| *taken == made) {
                    seed += 1;
                    made = short_id(id, seed);
                }
                short.push((id.to_owned(), made));
            }
        }
    }
    if short.is_empty() {
        return;
    }
    notes.adapted("ids of tool calls respelled as nine letters and digits");
    let replace = |id: &mut String| {
        if let Some((_, made)) = short.iter().find(|(long, _)| long == id) {
            id.clone_from(made);
        }
    };
    for message in conversation.to_mut() {
        if message.tool_call_id.is_some() || !message.tool_calls.is_empty() {
            let message = Arc::make_mut(message);
            message.tool_call_id.iter_mut().for_each(replace);
            message.tool_calls.iter_mut().for_each(|call| replace(&mut call.id));
        }
    }
}

/// Nine letters and digits that depend on the id alone, so that a conversation is spelled alike in each request.
fn short_id(id: &str, seed: u64) -> String {
    // FNV-1a.
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut made = String::with_capacity(9);
    for _ in 0..9 {
        made.push(char::from_digit((hash % 36) as u32, 36).unwrap_or('0'));
        hash /= 36;
    }
    made
}

fn echo_reasoning(conversation: &mut Conversation<'_>, field: &str, notes: &mut Notes) {
    let lacks = |message: &Message| {
        message.role == Role::Assistant
            && !message.extra.contains_key(field)
            && (message.reasoning.is_some() || !message.tool_calls.is_empty())
    };
    if !conversation.iter().any(|message| lacks(message)) {
        return;
    }
    notes.adapted(format!("the thinking of earlier turns sent back as {field}"));
    for message in conversation.to_mut().iter_mut().filter(|message| lacks(message)) {
        let message = Arc::make_mut(message);
        // Where a call came without thinking, a blank is enough (Kimi).
        let thought = message.reasoning.clone().unwrap_or_else(|| " ".to_owned());
        message.extra.insert(field.to_owned(), thought.into());
    }
}

/// Calls that Gemini did not make itself get the signature that its documentation names for them.
fn sign_calls(conversation: &mut Conversation<'_>, notes: &mut Notes) {
    let lacks = |message: &Message| {
        message.tool_calls.first().is_some_and(|call| {
            call.extra
                .get("extra_content")
                .and_then(|extra| extra.pointer("/google/thought_signature"))
                .is_none()
        })
    };
    if !conversation.iter().any(|message| lacks(message)) {
        return;
    }
    notes.adapted("calls from elsewhere sent with a placeholder of a thought signature");
    for message in conversation.to_mut().iter_mut().filter(|message| lacks(message)) {
        if let Some(call) = Arc::make_mut(message).tool_calls.first_mut() {
            let signature: Value =
                json!({"google": {"thought_signature": "skip_thought_signature_validator"}});
            call.extra.insert("extra_content".to_owned(), signature);
        }
    }
}

fn mark_prefill(conversation: &mut Conversation<'_>, field: &str, notes: &mut Notes) {
    let Some(last) = conversation.len().checked_sub(1) else { return };
    let is_prefill = |message: &Arc<Message>| {
        message.role == Role::Assistant && message.tool_calls.is_empty() && !message.extra.contains_key(field)
    };
    if conversation.last().is_some_and(is_prefill)
        && let Some(message) = at(conversation, last)
    {
        message.extra.insert(field.to_owned(), true.into());
        notes.adapted(format!("the last message marked as a beginning ({field})"));
    }
}
