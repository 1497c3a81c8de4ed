//! `loom emulate`: an emulated server for other programs, until Ctrl-C.

use std::fs;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use loom::LlmError;
use loom_testkit::servers::{self, BadProxy};
use loom_testkit::{Emulator, Handler, RecordedRequest, Reply, Server, Turn};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::args::EmulateArgs;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::screen::{Screen, harmless};

/// The name that is no row of the table.
const BADPROXY: &str = "badproxy";

/// Runs the command.
pub(crate) fn emulate(args: EmulateArgs, screen: &Screen, runtime: &Runtime) -> Result<(), Failure> {
    let Some(name) = args.name.as_deref() else {
        return list(screen);
    };
    let interrupt = Interrupt::new(runtime);
    let address = (Ipv4Addr::LOCALHOST, args.port);
    let taken = |error: io::Error| {
        LlmError::config(format!("cannot listen on 127.0.0.1:{}: {error}", args.port))
            .with_hint("another program listens there: choose another --port, or none for a free one")
    };
    runtime.block_on(async {
        let server = if name == BADPROXY {
            only_port(&args)?;
            Server::bind(address, Logged(BadProxy::new())).await
        } else {
            Server::bind(address, Logged(emulator(name, &args)?)).await
        };
        let server = server.map_err(taken)?;
        screen.out(&format!("{}\n", server.base_url()))?;
        interrupt.pressed().await;
        server.shutdown().await;
        Ok(())
    })
}

fn list(screen: &Screen) -> Result<(), Failure> {
    for spec in servers::ALL {
        screen.out(&format!("{:<17} {}\n", spec.name, spec.title))?;
    }
    screen.out(&format!("{BADPROXY:<17} a proxy that breaks answers: the model's name says how\n"))?;
    Ok(())
}

fn emulator(name: &str, args: &EmulateArgs) -> Result<Emulator, LlmError> {
    let emulator = servers::named(name).ok_or_else(|| {
        let names: Vec<&str> = servers::ALL.iter().map(|spec| spec.name).chain([BADPROXY]).collect();
        LlmError::config(format!("no emulated server is called {name:?}"))
            .with_hint(format!("there are: {}", names.join(", ")))
    })?;
    let turns = args.script.as_deref().map(script).transpose()?.unwrap_or_default();
    let emulator = emulator.script(turns).token_delay(Duration::from_millis(args.delay));
    let emulator = args.model.iter().fold(emulator, Emulator::model);
    let emulator = args.key.iter().fold(emulator, Emulator::api_key);
    Ok(args.context.iter().fold(emulator, |emulator, tokens| emulator.context(*tokens)))
}

/// The proxy has no settings: what it does stands in the requests.
fn only_port(args: &EmulateArgs) -> Result<(), LlmError> {
    let given = [
        ("--script", args.script.is_some()),
        ("--key", args.key.is_some()),
        ("--model", !args.model.is_empty()),
        ("--context", args.context.is_some()),
        ("--delay", args.delay > 0),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(LlmError::config(format!("{BADPROXY} does not take {option}"))
            .with_hint("what it does stands in the requests: the model's name, the path or ?fault=")),
        None => Ok(()),
    }
}

fn script(file: &Path) -> Result<Vec<Turn>, LlmError> {
    let wrong = |why: String| LlmError::config(format!("the script {}: {why}", file.display()));
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let json: Value = serde_json::from_str(&text.map_err(|error| wrong(error.to_string()))?)
        .map_err(|error| wrong(error.to_string()))?;
    Turn::script(&json).map_err(wrong)
}

/// A handler that says on stderr what it was asked and what it answered. Neither keys nor texts are shown.
struct Logged<H>(H);

impl<H: Handler> Handler for Logged<H> {
    fn reply(&self, request: &RecordedRequest) -> Reply {
        let reply = self.0.reply(request);
        let body = request.json();
        let model =
            body.get("model").and_then(Value::as_str).map(|model| format!(" {model}")).unwrap_or_default();
        let stream = if body.get("stream") == Some(&Value::Bool(true)) { " stream" } else { "" };
        let line = format!("{} {}{model}{stream} -> {}", request.method, request.path, reply.status());
        Screen::new().note(&harmless(&line));
        reply
    }

    fn base_path(&self) -> &str {
        self.0.base_path()
    }
}
