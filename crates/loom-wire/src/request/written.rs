//! Conversations as they were written last: what the next request repeats is copied and not encoded again.
//!
//! An agent asks with all that was said before, turn after turn. Messages are shared and, while they are, do not change,
//! so the same ones written for the same profile are the same bytes. Nothing is kept alive but the bytes, and these only
//! until their messages are gone and another request comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use crate::message::Message;
use crate::profile::Profile;

/// Shorter conversations are encoded sooner than they are found.
const WORTHWHILE: usize = 16 * 1024;
/// As many conversations are kept, the newest.
const MOST: usize = 8;

/// The conversations that were written last.
#[derive(Debug, Default)]
pub struct Written(Mutex<VecDeque<Arc<Conversation>>>);

/// A conversation in the body of a request.
#[derive(Debug)]
pub struct Conversation {
    profile: Profile,
    /// Each message, and where in the body it ends. A pointer to a message that is gone is no other message's.
    messages: Vec<(Weak<Message>, usize)>,
    /// Where the first message begins.
    start: usize,
    body: Bytes,
}

impl Written {
    /// Keeps the conversation of a request whose body has been written.
    pub fn keep(&self, mut conversation: Conversation, body: &Bytes) {
        conversation.body = body.clone();
        let mut kept = self.lock();
        kept.retain(|old| old.lives() && !conversation.goes_on(old));
        kept.truncate(MOST - 1);
        kept.push_front(Arc::new(conversation));
    }

    /// The conversation that shares the most messages with these from the beginning, and how many.
    pub(super) fn longest(
        &self,
        messages: &[Arc<Message>],
        profile: &Profile,
    ) -> Option<(Arc<Conversation>, usize)> {
        let kept = self.lock();
        let shared = kept.iter().map(|old| (old, old.shared(messages)));
        let (old, count) =
            shared.filter(|(old, _)| old.profile == *profile).max_by_key(|(_, count)| *count)?;
        (count > 0).then(|| (Arc::clone(old), count))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Conversation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conversation {
    /// One that is about to be written, from `start` on, if it is worthwhile to keep it.
    pub(super) fn begin(profile: &Profile, size: usize, start: usize) -> Option<Self> {
        let of = |profile: &Profile| Self {
            profile: profile.clone(),
            messages: Vec::new(),
            start,
            body: Bytes::new(),
        };
        (size >= WORTHWHILE).then(|| of(profile))
    }

    /// A message was written and ends there.
    pub(super) fn push(&mut self, message: &Arc<Message>, end: usize) {
        self.messages.push((Arc::downgrade(message), end));
    }

    /// The first messages as they were written, with the commas between them.
    pub(super) fn json(&self, count: usize) -> Option<&[u8]> {
        let (_, end) = self.messages.get(count.checked_sub(1)?)?;
        self.body.get(self.start..*end)
    }

    /// Where the first messages end, counted from the beginning of the first.
    pub(super) fn ends(&self, count: usize) -> impl Iterator<Item = usize> {
        self.messages.iter().take(count).map(|(_, end)| end - self.start)
    }

    /// With how many of these messages it begins.
    fn shared(&self, messages: &[Arc<Message>]) -> usize {
        let same = |((kept, _), message): &(&(Weak<Message>, usize), &Arc<Message>)| {
            std::ptr::eq(kept.as_ptr(), Arc::as_ptr(message))
        };
        self.messages.iter().zip(messages).take_while(same).count()
    }

    /// Whether it holds all of an older one.
    fn goes_on(&self, old: &Self) -> bool {
        old.messages.len() <= self.messages.len()
            && old.messages.iter().zip(&self.messages).all(|((a, _), (b, _))| a.ptr_eq(b))
    }

    fn lives(&self) -> bool {
        self.messages.first().is_some_and(|(message, _)| message.strong_count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Request, encode, encode_after};
    use crate::tool::ToolCall;

    fn conversation() -> Request {
        let text = |at: usize| format!("{at}: \"quoted\", 漢字, and a line\n").repeat(20);
        let mut request = Request::default();
        for at in 0..60 {
            let message = if at % 2 == 0 { Message::user(text(at)) } else { Message::assistant(text(at)) };
            request.messages.push(Arc::new(message));
        }
        request
    }

    /// The body as it is written with and without what was written before.
    fn bodies(request: &Request, profile: &Profile, written: &Written) -> (Vec<u8>, Bytes) {
        let plain = encode(request, "m", profile).unwrap();
        let encoded = encode_after(request, "m", profile, written).unwrap();
        assert_eq!(plain.notes, encoded.notes);
        let body = Bytes::from(encoded.body);
        if let Some(conversation) = encoded.conversation {
            written.keep(conversation, &body);
        }
        (plain.body, body)
    }

    #[test]
    fn a_turn_more_is_the_same_body_as_one_that_is_encoded_anew() {
        let (mut request, written, profile) = (conversation(), Written::default(), Profile::default());
        for turn in 0..6 {
            let (plain, body) = bodies(&request, &profile, &written);
            assert_eq!(plain, body, "turn {turn}");
            let found = written.longest(&request.messages, &profile).unwrap().1;
            assert_eq!(
                (found, written.lock().len()),
                (request.messages.len(), 1),
                "each replaces the one before"
            );
            let mut call = Message::assistant("");
            call.content = None;
            call.tool_calls = vec![ToolCall::new(format!("c{turn}"), "f", "{}")];
            request.messages.push(Arc::new(call));
            request.messages.push(Arc::new(Message::tool(format!("c{turn}"), "sunny")));
        }
        // Another way on from the middle, and a message in it that has changed.
        request.messages.truncate(30);
        request.messages.push(Arc::new(Message::user("another question")));
        let (plain, body) = bodies(&request, &profile, &written);
        assert_eq!(plain, body);
        Arc::make_mut(&mut request.messages[10]).content = Some("changed".into());
        let (plain, body) = bodies(&request, &profile, &written);
        assert_eq!(plain, body);
        assert!(String::from_utf8_lossy(&body).contains("changed"));
    }

    #[test]
    fn another_profile_writes_it_anew() {
        let (mut request, written) = (conversation(), Written::default());
        request.messages.insert(0, Arc::new(Message::new(crate::Role::Developer, "be kind")));
        let knows = |developer| Profile { developer: Some(developer), ..Profile::default() };
        for developer in [true, false, true] {
            let (plain, body) = bodies(&request, &knows(developer), &written);
            assert_eq!(plain, body);
            assert_eq!(String::from_utf8_lossy(&body).contains("developer"), developer);
        }
        let strip = Profile { leave_out: vec!["messages.name".to_owned()], ..Profile::default() };
        let (plain, body) = bodies(&request, &strip, &written);
        assert_eq!(plain, body);
    }

    #[test]
    fn few_are_kept_and_none_whose_messages_are_gone() {
        let (written, profile) = (Written::default(), Profile::default());
        let requests: Vec<Request> = (0..MOST + 3).map(|_| conversation()).collect();
        for request in &requests {
            bodies(request, &profile, &written);
        }
        assert_eq!(written.lock().len(), MOST);
        drop(requests);
        bodies(&conversation(), &profile, &written);
        assert_eq!(written.lock().len(), 1);
        bodies(&Request::new(vec![Message::user("short")]), &profile, &written);
        assert_eq!(written.lock().len(), 1, "a short one is not kept");
    }
}
