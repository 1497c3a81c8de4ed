//! `loom demo` in a pipe: it says what it is, shows three things, and needs nothing.

use crate::sandbox::Sandbox;

/// The output with the one thing that differs from run to run taken out.
fn demo(sandbox: &Sandbox, env: &[(&str, &str)]) -> String {
    let out = sandbox.loom_with(&["demo"], env, "").quiet();
    let port = out.split_once("127.0.0.1:").unwrap().1.split('/').next().unwrap();
    out.replace(port, "PORT")
}

#[test]
fn it_shows_a_stream_a_tool_and_json() {
    let sandbox = Sandbox::new();
    let out = demo(&sandbox, &[]);
    let mut rest = out.as_str();
    for part in [
        "EMULATED endpoint",
        "leaves this machine",
        "http://127.0.0.1:PORT/v1",
        "agent.stream(",
        "You said: \"Hello! Who answers here?\"",
        "@loom.tool",
        "the model calls get_weather({\"city\":\"Paris\"})",
        "get_weather returns \"sunny, 21 °C in Paris\"",
        "get_weather says: sunny, 21 °C in Paris",
        "response_format={\"type\": \"json_object\"}",
        "{\n  \"answer\": ",
        "loom run --base-url",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is missing or out of order in:\n{out}"));
        rest = &rest[at..];
    }
    assert!(!out.contains('\u{1b}'));
    // The same again, whatever the user has set.
    let env = [("LOOM_BASE_URL", "http://127.0.0.1:9/v1"), ("OPENAI_API_KEY", "sk-x"), ("LOOM_MODEL", "x")];
    assert_eq!(demo(&sandbox, &env), out);
}

#[test]
fn it_does_not_go_through_a_proxy() {
    let sandbox = Sandbox::new();
    let proxy = ("HTTP_PROXY", "http://127.0.0.1:9");
    let out = demo(&sandbox, &[]);
    assert_eq!(demo(&sandbox, &[proxy, ("ALL_PROXY", "socks5://127.0.0.1:9")]), out);
}
