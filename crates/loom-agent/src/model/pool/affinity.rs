//! Which member answered a conversation before: its server still holds the conversation's beginning in its cache.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use loom_wire::{Request, Role};

/// The most conversations that are remembered; the oldest are forgotten first.
const MOST: usize = 10_000;

/// What names a conversation: a hash of all up to its first user message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Conversation(u64);

impl Conversation {
    /// The conversation of a request; `None` for one without a user message.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let first = request.messages.iter().position(|message| message.role == Role::User)?;
        let mut hasher = DefaultHasher::new();
        for message in request.messages.iter().take(first + 1) {
            message.role.as_str().hash(&mut hasher);
            message.text().hash(&mut hasher);
        }
        Some(Self(hasher.finish()))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Affinity {
    member: HashMap<Conversation, usize>,
    order: VecDeque<Conversation>,
}

impl Affinity {
    pub(crate) fn member(&self, conversation: Conversation) -> Option<usize> {
        self.member.get(&conversation).copied()
    }

    pub(crate) fn remember(&mut self, conversation: Conversation, member: usize) {
        if self.member.insert(conversation, member).is_none() {
            self.order.push_back(conversation);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.member.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom_wire::Message;

    #[test]
    fn a_conversation_keeps_its_name_as_it_grows() {
        let first = vec![Message::system("s"), Message::user("hello")];
        let mut later = first.clone();
        later.extend([Message::assistant("hi"), Message::user("and then?")]);
        let name = |messages: &[Message]| Conversation::of(&Request::new(messages.to_vec()));
        assert_eq!(name(&first), name(&later));
        assert_ne!(name(&first), name(&[Message::system("s"), Message::user("goodbye")]));
        assert_eq!(name(&[Message::system("s")]), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut affinity = Affinity::default();
        for number in 0..MOST as u64 + 5 {
            affinity.remember(Conversation(number), 1);
        }
        assert_eq!((affinity.member.len(), affinity.order.len()), (MOST, MOST));
        assert_eq!(affinity.member(Conversation(4)), None);
        assert_eq!(affinity.member(Conversation(5)), Some(1));
    }
}
