//! Calls that wait for approval: whoever sits at the terminal is asked.

use loom::AgentError;
use loom::agent::Run;
use tokio::runtime::Runtime;

use crate::chat::input::{Input, Line};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::{Screen, harmless};

/// The run to go on with, its calls decided, if that is why it has stopped; else why it has.
///
/// # Errors
/// The failure, if it is another one; [`Failure::Interrupted`] if nobody decides.
pub(crate) fn decided(
    failure: Failure,
    input: &mut Input<'_>,
    screen: &Screen,
    runtime: &Runtime,
    interrupt: &Interrupt,
) -> Result<Run, Failure> {
    let Failure::Run(AgentError::ApprovalRequired { calls, mut run }) = failure else { return Err(failure) };
    for call in calls {
        // All of the arguments: what cannot be seen cannot be approved.
        screen.note(&harmless(&format!("\nThe model wants to call {} {}", call.name, call.arguments)));
        loop {
            match input.ask("Carry it out? [y/n] ", runtime, interrupt)? {
                Line::Text(answer) => match answer.trim().to_lowercase().as_str() {
                    "y" | "yes" => break run.approve(Some(&call.id))?,
                    "n" | "no" => break run.deny(Some(&call.id), "")?,
                    _ => {}
                },
                Line::Interrupted | Line::End => return Err(Failure::Interrupted),
            }
        }
    }
    Ok(*run)
}
