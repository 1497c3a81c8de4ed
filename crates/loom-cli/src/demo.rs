//! `loom demo`: what Loom does, on an endpoint that is emulated in this process and asked over real HTTP.

use std::convert::Infallible;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use futures_util::StreamExt;
use loom::endpoint::Proxy;
use loom::{AgentBuilder, AgentEvent, LlmError, Message, Request, UnifiedLlm};
use loom_testkit::{Emulator, Server};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::AnswerView;
use crate::failure::Failure;
use crate::screen::{BOLD, DIM, Screen};

const MODEL: &str = "loom-demo";
const TOOL: Style = AnsiColor::Yellow.on_default();

const INTRODUCTION: &str = "\
Loom runs agents on any endpoint that speaks the OpenAI chat format, given its base_url.
This demo uses an EMULATED endpoint inside this process. There is no model behind it:
its answers follow fixed rules. What goes over HTTP to 127.0.0.1 is real, and nothing
leaves this machine.
";

const STREAMED: &str = "1. A streamed answer";
const STREAMED_QUESTION: &str = "Hello! Who answers here?";
const STREAMED_PYTHON: &str = "\
agent = loom.agent(llm=\"custom\", **endpoint)
async for event in agent.stream(\"Hello! Who answers here?\"):
    if event[\"type\"] == \"content_delta\":
        print(event[\"content\"], end=\"\")
";

const TOOLS: &str = "2. A tool call";
const TOOLS_QUESTION: &str = "How is the weather in Paris?";
const TOOLS_PYTHON: &str = "\
@loom.tool
def get_weather(city: str) -> str:
    return f\"sunny, 21 °C in {city}\"

agent = loom.agent(llm=\"custom\", **endpoint, tools=[get_weather])
agent.run_sync(\"How is the weather in Paris?\").content
";

const JSON: &str = "3. A JSON answer";
const JSON_QUESTION: &str = "Answer in JSON: what is Loom?";
const JSON_PYTHON: &str = "\
llm = UnifiedLLM(provider=\"custom\", **endpoint)
answer = await llm.generate([{\"role\": \"user\", \"content\": \"Answer in JSON: what is Loom?\"}],
                            response_format={\"type\": \"json_object\"})
json.loads(answer.content)
";

const NEXT: &str = "\
Now with an endpoint of yours:
  loom run --base-url http://localhost:8000/v1 \"Who are you?\"     vLLM; or any other address
  loom run --llm ollama --model qwen3 \"Who are you?\"              local servers by name
  DEEPSEEK_API_KEY=... loom chat --llm deepseek                   cloud providers by name
  loom providers                                                  all names
";

/// The arguments of the demo's tool.
#[derive(Deserialize, JsonSchema)]
struct City {
    /// The city's name
    city: String,
}

/// Runs the command.
pub(crate) async fn demo(screen: &Screen) -> Result<(), Failure> {
    // On a terminal one shall see that the answer streams.
    let delay = Duration::from_millis(if screen.out_is_terminal { 40 } else { 0 });
    let server = Server::start(Emulator::new().model(MODEL).token_delay(delay)).await?;
    let base_url = server.base_url();
    screen.out(INTRODUCTION)?;
    // A proxy could not reach this process, whatever the environment says.
    let settings = || {
        UnifiedLlm::builder()
            .provider("custom")
            .base_url(base_url.as_str())
            .model(MODEL)
            .proxy(Proxy::direct())
    };
    let llm = settings().build()?;
    let agent = || loom::agent("demo").llm(llm.clone());
    let endpoint = format!("endpoint = dict(base_url=\"{base_url}\", model=\"{MODEL}\")");
    python(screen, &format!("\nimport loom\nfrom loom.builtin import UnifiedLLM\n\n{endpoint}\n"))?;

    title(screen, STREAMED, STREAMED_PYTHON, STREAMED_QUESTION)?;
    ask(screen, agent(), STREAMED_QUESTION).await?;

    title(screen, TOOLS, TOOLS_PYTHON, TOOLS_QUESTION)?;
    let weather = loom::tool("get_weather", "The weather in a city now", |args: City| async move {
        Ok::<_, Infallible>(format!("sunny, 21 °C in {}", args.city))
    });
    ask(screen, agent().tool(weather), TOOLS_QUESTION).await?;

    title(screen, JSON, JSON_PYTHON, JSON_QUESTION)?;
    let mut request = Request::new(vec![Message::user(JSON_QUESTION)]);
    request.response_format = Some(json!({"type": "json_object"}));
    let content = llm.generate(request).await?.content;
    let value: Value = serde_json::from_str(&content)
        .map_err(|error| LlmError::bad_response(format!("the answer is not JSON: {error}: {content}")))?;
    screen.out(&format!("{value:#}\n"))?;

    let count = server.requests().len();
    screen.out(&format!("\nThe emulated endpoint got {count} requests. {NEXT}"))?;
    server.shutdown().await;
    Ok(())
}

fn title(screen: &Screen, title: &str, code: &str, question: &str) -> Result<(), Failure> {
    screen.out("\n")?;
    screen.line(BOLD, title)?;
    screen.out("\n")?;
    python(screen, code)?;
    screen.out("\n")?;
    screen.line(Style::new(), &format!("> {question}"))?;
    Ok(())
}

/// The same in Python, set apart.
fn python(screen: &Screen, code: &str) -> Result<(), Failure> {
    for line in code.lines() {
        if line.is_empty() {
            screen.out("\n")?;
        } else {
            screen.line(DIM, &format!("    {line}"))?;
        }
    }
    Ok(())
}

/// Runs an agent, and shows its tools at work beside its words.
async fn ask(screen: &Screen, agent: AgentBuilder, question: &str) -> Result<(), Failure> {
    let mut view = AnswerView::new(screen, false);
    let mut events = agent.build()?.stream(question);
    while let Some(event) = events.next().await {
        match event? {
            AgentEvent::ToolStart { name, arguments, .. } => {
                screen.line(TOOL, &format!("the model calls {name}({})", Value::Object(arguments)))?;
            }
            AgentEvent::ToolEnd { name, content, .. } => {
                screen.line(TOOL, &format!("{name} returns {:?}", content.text()))?;
            }
            AgentEvent::Finish { message, .. } => view.finish(&message)?,
            event => view.show(&event)?,
        }
    }
    Ok(())
}
