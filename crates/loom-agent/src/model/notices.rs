//! What a call reports before its first token: events that leave while the call itself is still waiting.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures_util::stream;
use loom_wire::{Event, LlmError};

use crate::model::call::Call;
use crate::model::llm::EventStream;

/// A queue that the call fills and the stream empties.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<VecDeque<Event>>>);

impl Notices {
    pub(crate) fn push(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }

    fn pop(&self) -> Option<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

type Item = Option<Result<Event, LlmError>>;

enum State {
    /// Until its first event the call runs on its own, so that notices can overtake it.
    Opening(Pin<Box<dyn Future<Output = (Box<Call>, Item)> + Send>>),
    /// The first event is there, and what was reported before it has still to go out.
    Opened(Box<Call>, Item),
    Delivering(Box<Call>),
    Over,
}

/// The events of a call, its notices among them.
pub(crate) fn events(call: Call) -> EventStream {
    let notices = call.notices.clone();
    let mut call = Box::new(call);
    // What it takes to open a call is large, and gone once it is open.
    let opening = State::Opening(Box::pin(async move {
        call.start().await;
        let first = call.next().await;
        (call, first)
    }));
    Box::pin(stream::unfold((opening, notices), |(mut state, notices)| async move {
        let item = next(&mut state, &notices).await;
        item.map(|item| (item, (state, notices)))
    }))
}

async fn next(state: &mut State, notices: &Notices) -> Item {
    loop {
        *state = match std::mem::replace(state, State::Over) {
            State::Over => return None,
            State::Delivering(mut call) => {
                let item = call.next().await;
                *state = State::Delivering(call);
                return item;
            }
            State::Opened(call, first) => match notices.pop() {
                Some(notice) => {
                    *state = State::Opened(call, first);
                    return Some(Ok(notice));
                }
                None => {
                    *state = State::Delivering(call);
                    return first;
                }
            },
            State::Opening(mut future) => {
                let step = poll_fn(|cx| match (future.as_mut().poll(cx), notices.pop()) {
                    (Poll::Ready(done), notice) => Poll::Ready((Some(done), notice)),
                    (Poll::Pending, None) => Poll::Pending,
                    (Poll::Pending, notice) => Poll::Ready((None, notice)),
                });
                let (done, notice) = step.await;
                let after = match done {
                    Some((call, first)) => State::Opened(call, first),
                    None => State::Opening(future),
                };
                if notice.is_some() {
                    *state = after;
                    return notice.map(Ok);
                }
                after
            }
        };
    }
}
