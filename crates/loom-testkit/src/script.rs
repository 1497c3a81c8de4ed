//! A handler that reads its answers from a list.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::handler::Handler;
use crate::reply::Reply;
use crate::request::RecordedRequest;

/// Answers chat requests with the replies of a list, in order.
///
/// `POST …/chat/completions` takes the next reply; when there is none left, the answer is a 500 that says so.
/// `GET …/models` lists the models. Anything else is a 404 in OpenAI's shape.
#[derive(Debug)]
pub struct Script {
    replies: Mutex<VecDeque<Reply>>,
    length: usize,
    models: Vec<String>,
}

impl Script {
    /// A script of these replies, which lists one model, `test-model`.
    pub fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: VecDeque<Reply> = replies.into_iter().collect();
        Self { length: replies.len(), replies: Mutex::new(replies), models: vec!["test-model".to_owned()] }
    }

    /// Replaces the models listed under `GET …/models`.
    pub fn models<S: Into<String>>(mut self, models: impl IntoIterator<Item = S>) -> Self {
        self.models = models.into_iter().map(Into::into).collect();
        self
    }

    fn next(&self) -> Reply {
        let next = self.replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(|| {
            let message = format!("script exhausted: all {} replies have been given", self.length);
            ApiError { status: 500, kind: "server_error", ..ApiError::invalid(message) }.into_reply()
        })
    }
}

impl Handler for Script {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        match request.method.as_str() {
            "POST" if request.path.ends_with("/chat/completions") => self.next(),
            "GET" if request.path.ends_with("/models") => Reply::json(200, &model_list(&self.models)),
            _ => ApiError::no_such_path(request).into_reply(),
        }
    }
}

/// The body of `GET /v1/models`.
pub(crate) fn model_list(models: &[String]) -> Value {
    let data: Vec<Value> = models
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "loom-testkit"}))
        .collect();
    json!({"object": "list", "data": data})
}
