//! `loom models`: what the endpoint serves.

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::args::ModelsArgs;
use crate::connect::{Connection, process_env};
use crate::failure::Failure;
use crate::screen::Screen;

/// Runs the command.
pub(crate) fn models(args: ModelsArgs, screen: &Screen, runtime: &Runtime) -> Result<(), Failure> {
    let connection = Connection::new(args.options, &process_env)?;
    let llm = connection.llm()?;
    let ids = runtime.block_on(llm.models()).map_err(|error| connection.explain(error.into()))?;
    if args.json {
        screen.out(&format!("{}\n", Value::from(ids)))?;
    } else if ids.is_empty() {
        screen.note(&format!("{} serves no models", llm.endpoint().base_url()));
    } else {
        let lines: String = ids.iter().map(|id| format!("{}\n", screen.foreign(id))).collect();
        screen.out(&lines)?;
    }
    Ok(())
}
