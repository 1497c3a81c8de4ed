//! The OpenAI chat format as servers really speak it: strict in what it sends, lenient in what it reads.
//!
//! No IO and no async: bytes in, values out. The parts, in the order in which data meets them:
//!
//! | module | owns |
//! |---|---|
//! | [`message`], [`tool`], [`request`] | what is said, and its strict encoding |
//! | [`part`] | images, audio and files within a message |
//! | [`profile`] | what an endpoint takes and how it spells it |
//! | [`sse`] | bytes → events of a stream |
//! | [`chunk`] | one typed, lenient pass over a chunk or a whole answer |
//! | [`fold`] | chunks → [`Event`]s |
//! | [`text`] | thinking and tool calls that stand in the text |
//! | [`limits`] | what a hostile or broken server cannot pass |
//! | [`event`] | the events, and their sum: a [`Completion`] |
//! | [`answer`] | the body of an answer, whatever form it comes in → events |
//! | [`json_answer`] | the check of an answer that was asked to be JSON |
//! | [`error`], [`api_error`] | the kinds of failure; the error bodies of servers |
//! | [`ledger`] | a record of each leniency that was used |

pub mod advice;
pub mod answer;
pub mod api_error;
mod arguments;
pub mod chunk;
mod context;
mod echo;
pub mod error;
pub mod event;
pub mod fold;
pub mod json_answer;
pub mod ledger;
mod lenient;
pub mod limits;
mod list;
pub mod mend;
pub mod message;
pub mod models;
pub mod part;
pub mod profile;
mod repeat;
pub mod request;
pub mod sse;
pub mod text;
pub mod tool;
mod verdict;
mod wordings;

pub use echo::Echo;
pub use error::{ErrorKind, Link, LlmError};
pub use event::{Completion, Event, Finish, FinishReason, Retry, Usage};
pub use ledger::{LedgerEntry, Rule};
pub use limits::Limits;
pub use message::{Content, Message, Role};
pub use profile::Profile;
pub use request::{Request, ToolChoice};
pub use tool::{ToolCall, ToolSpec};
