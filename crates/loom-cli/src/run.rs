//! `loom run`: one question, one answer.

use std::io::{self, Read};

use futures_util::StreamExt;
use loom::{Agent, AgentEvent, AgentStream};
use tokio::runtime::Runtime;

use crate::answer::AnswerView;
use crate::args::RunArgs;
use crate::connect::{Connection, process_env};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::Screen;

/// Runs the command.
pub(crate) fn run(args: RunArgs, screen: &Screen, runtime: &Runtime) -> Result<(), Failure> {
    let question = question(args.question, screen)?;
    let connection = Connection::new(args.options, &process_env)?;
    let agent = agent(&connection, connection.llm()?)?;
    let interrupt = Interrupt::new(runtime);
    let result = runtime.block_on(async {
        let events = agent.stream(question);
        if args.json {
            print_events(events, screen, &interrupt).await
        } else {
            print_answer(events, screen, &interrupt, args.reasoning).await
        }
    });
    result.map_err(|failure| connection.explain(failure))
}

/// The agent that asks for the user: no tools, only the instructions.
pub(crate) fn agent(connection: &Connection, llm: loom::UnifiedLlm) -> Result<Agent, Failure> {
    let mut builder = loom::agent("loom").llm(llm);
    if let Some(system) = &connection.system {
        builder = builder.system_prompt(system.as_str());
    }
    Ok(builder.build()?)
}

/// The next event, unless Ctrl-C comes first.
pub(crate) async fn next_event(
    events: &mut AgentStream,
    interrupt: &Interrupt,
) -> Result<Option<AgentEvent>, Failure> {
    tokio::select! {
        biased;
        () = interrupt.pressed() => Err(Failure::Interrupted),
        event = events.next() => Ok(event.transpose()?),
    }
}

async fn print_answer(
    mut events: AgentStream,
    screen: &Screen,
    interrupt: &Interrupt,
    reasoning: bool,
) -> Result<(), Failure> {
    let mut view = AnswerView::new(screen, reasoning);
    loop {
        match next_event(&mut events, interrupt).await {
            Ok(Some(AgentEvent::Finish { message, .. })) => return Ok(view.finish(&message)?),
            Ok(Some(event)) => view.show(&event)?,
            Ok(None) => return Ok(view.end()?),
            Err(failure) => {
                // First the connection, then the words about it.
                drop(events);
                if matches!(failure, Failure::Interrupted) {
                    view.stop()?
                } else {
                    view.end()?
                }
                return Err(failure);
            }
        }
    }
}

async fn print_events(
    mut events: AgentStream,
    screen: &Screen,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    while let Some(event) = next_event(&mut events, interrupt).await? {
        let line = serde_json::to_string(&event).map_err(io::Error::from)?;
        screen.out(&format!("{line}\n"))?;
    }
    Ok(())
}

/// The question, from the argument or from stdin.
fn question(argument: Option<String>, screen: &Screen) -> Result<String, Failure> {
    let text = match argument.as_deref() {
        Some("-") => stdin()?,
        Some(text) => text.to_owned(),
        None if !screen.in_is_terminal => stdin()?,
        None => return Err(Failure::usage("no question: loom run \"…\", or - to read it from stdin")),
    };
    if text.trim().is_empty() {
        return Err(Failure::usage("the question is empty"));
    }
    Ok(text)
}

fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Failure::usage("what stands on stdin is not UTF-8 text"))
}
