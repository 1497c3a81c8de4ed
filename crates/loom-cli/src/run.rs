//! `loom run`: one question, one answer.

use std::io::{self, Read};
use std::sync::Arc;

use futures_util::StreamExt;
use loom::agent::Conversation;
use loom::{Agent, AgentEvent, AgentStream, Explanation, Message, UnifiedLlm, part};
use tokio::runtime::Runtime;

use crate::answer::AnswerView;
use crate::approve::decided;
use crate::args::RunArgs;
use crate::chat::input::Input;
use crate::connect::{Connection, process_env};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::{Screen, harmless};
use crate::sessions;
use crate::tools::Toolbox;

/// Runs the command.
pub(crate) fn run(args: RunArgs, screen: &Screen, runtime: &Runtime) -> Result<u8, Failure> {
    let question = with_parts(question(args.question, screen)?, &args.image, &args.audio, &args.file);
    let config = args.options.config.clone();
    let connection = Connection::new(args.options, &process_env)?;
    let (llm, unified) = connection.open()?;
    let tools = Toolbox::new(&args.tools, config.as_deref())?;
    let agent = agent(&connection, llm, &tools)?;
    let session = sessions::named(args.session)?;
    let explain = || unified.as_ref().and_then(UnifiedLlm::explain).filter(|_| args.explain);
    let interrupt = Interrupt::new(runtime);
    let ask = |input: Conversation| {
        runtime.block_on(async {
            let events = match &session {
                Some(session) => agent.stream_in(session, input),
                None => agent.stream(input),
            };
            if args.json {
                print_events(events, screen, &interrupt, &explain).await
            } else {
                print_answer(events, screen, &interrupt, args.reasoning).await
            }
        })
    };
    let can_decide = screen.in_is_terminal && screen.out_is_terminal && !args.json;
    let mut result = ask(question.into());
    while can_decide && let Err(failure) = result {
        result = match decided(failure, &mut Input::for_answers(screen), screen, runtime, &interrupt) {
            Ok(run) => ask(run.into()),
            Err(failure) => {
                result = Err(failure);
                break;
            }
        };
    }
    tools.close(runtime);
    let (code, explanation) = match result.map_err(|failure| connection.explain(failure)) {
        Ok(()) => (0, explain()),
        Err(failure) => {
            let explanation = explain();
            (failure.report(screen, args.json, explanation.as_ref()), explanation)
        }
    };
    if let Some(explanation) = explanation.filter(|_| !args.json) {
        screen.note(&harmless(&format!("\n{explanation}")));
    }
    Ok(code)
}

/// The agent that asks for the user.
pub(crate) fn agent(
    connection: &Connection,
    llm: Arc<dyn loom::Llm>,
    tools: &Toolbox,
) -> Result<Agent, Failure> {
    let mut builder = tools.offer(loom::agent("loom").llm(llm));
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
    explain: &dyn Fn() -> Option<Explanation>,
) -> Result<(), Failure> {
    while let Some(event) = next_event(&mut events, interrupt).await? {
        let mut value = serde_json::to_value(&event).map_err(io::Error::from)?;
        if let (AgentEvent::Finish { .. }, Some(explanation), Some(fields)) =
            (&event, explain(), value.as_object_mut())
        {
            fields.insert("explain".to_owned(), serde_json::to_value(explanation).map_err(io::Error::from)?);
        }
        let line = value.to_string();
        screen.out(&format!("{line}\n"))?;
    }
    Ok(())
}

/// The question with what stands beside it.
fn with_parts(question: String, images: &[String], audio: &[String], files: &[String]) -> Message {
    if images.is_empty() && audio.is_empty() && files.is_empty() {
        return Message::user(question);
    }
    let mut parts = vec![part::text(question)];
    parts.extend(images.iter().map(|source| part::image(source.as_str())));
    parts.extend(audio.iter().map(|source| part::audio(source.as_str())));
    parts.extend(files.iter().map(|source| part::file(source.as_str())));
    Message::user(parts)
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
        return Err(Failure::usage(match argument {
            Some(_) => "the question is empty",
            None => "no question was given, and stdin is empty",
        }));
    }
    Ok(text)
}

fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Failure::usage("what stands on stdin is not UTF-8 text"))
}
