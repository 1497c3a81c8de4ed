//! `loom emulate`: a server for other programs, for which the binary itself stands here.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::sandbox::Sandbox;

/// An emulator that runs, and its base URL.
struct Running {
    child: Child,
    base_url: String,
}

impl Running {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let args = ["emulate"].iter().chain(args);
        let mut child = sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut base_url = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut base_url).unwrap();
        Self { child, base_url: base_url.trim().to_owned() }
    }

    /// Presses Ctrl-C, and returns the exit code and what was said on stderr.
    fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_a_name_it_lists_the_servers() {
    let out = Sandbox::new().loom(&["emulate"]).quiet();
    for name in ["vllm ", "ollama ", "gemini ", "badproxy "] {
        assert!(out.lines().any(|line| line.starts_with(name)), "{name} is missing in:\n{out}");
    }
}

#[test]
fn it_serves_until_ctrl_c_and_names_each_request() {
    let sandbox = Sandbox::new();
    let script = sandbox.file("script.json", r#"["Bonjour", {"status": 400, "message": "Nothing doing"}]"#);
    let args = ["zhipu", "--key", "sk-emulated", "--model", "glm-x", "--script", &script];
    let emulator = Running::start(&sandbox, &args);
    assert!(emulator.base_url.ends_with("/api/paas/v4"), "{}", emulator.base_url);
    let endpoint = ["--base-url", &emulator.base_url, "--api-key", "sk-emulated"];
    let ask = |question| sandbox.loom(&[&["run", question, "--model", "glm-x"][..], &endpoint].concat());

    assert_eq!(ask("Hi").quiet(), "Bonjour\n");
    assert!(ask("Hi").err.contains("Nothing doing"));
    assert!(ask("Hi").quiet().contains("You said: \"Hi\""));
    assert_eq!(sandbox.loom(&[&["models"][..], &endpoint].concat()).quiet(), "glm-x\n");

    let (code, said) = emulator.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("POST /api/paas/v4/chat/completions glm-x"), "{said}");
    assert!(said.contains("-> 400") && said.contains("GET /api/paas/v4/models -> 200"), "{said}");
    assert!(!said.contains("sk-emulated"), "{said}");
}

#[test]
fn mistakes_are_named() {
    let sandbox = Sandbox::new();
    let unknown = sandbox.loom(&["emulate", "vllama"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("vllama") && unknown.err.contains("sglang"), "{unknown:?}");

    let proxy = sandbox.loom(&["emulate", "badproxy", "--key", "k"]);
    assert!(proxy.code == Some(2) && proxy.err.contains("badproxy does not take --key"), "{proxy:?}");

    let script = sandbox.file("script.json", r#"[{"contents": "x"}]"#);
    let wrong = sandbox.loom(&["emulate", "vllm", "--script", &script]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("turn 0") && wrong.err.contains("'contents'"), "{wrong:?}");

    let first = Running::start(&sandbox, &["vllm"]);
    let port = first.base_url.split([':', '/']).nth(4).unwrap();
    let taken = sandbox.loom(&["emulate", "ollama", "--port", port]);
    assert_eq!(taken.code, Some(2));
    assert!(taken.err.contains(port) && taken.err.contains("--port"), "{taken:?}");
}
