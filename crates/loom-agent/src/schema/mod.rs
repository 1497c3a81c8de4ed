//! JSON schemas: the check of what a model wrote against what was asked for, for tool arguments and typed answers alike.
//!
//! | module | owns |
//! |---|---|
//! | `validate` | the check: a value, or the problems with it in words that a model can act on |
//! | `coerce` | what has one reading only is read so: `"3"` where a number is asked for |
//! | `partial` | what is there of JSON that is still being written |

mod coerce;
mod partial;
mod validate;

pub use partial::PartialJson;
pub use validate::{Problem, Validator};
