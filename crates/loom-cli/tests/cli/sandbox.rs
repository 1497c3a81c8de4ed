//! A folder and an environment of a test's own, and the binary run in it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use loom_testkit::{Emulator, Handler, Server};

/// A home folder that lives as long as its test. No variable of the machine reaches the binary.
pub(crate) struct Sandbox(PathBuf);

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("loom-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The binary, with the folder as its home and working directory.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loom"));
        command
            .args(args)
            .current_dir(&self.0)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.0)
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn loom(&self, args: &[&str]) -> Done {
        self.loom_with(args, &[], "")
    }

    /// Runs the binary with variables and with text on stdin.
    pub(crate) fn loom_with(&self, args: &[&str], env: &[(&str, &str)], stdin: &str) -> Done {
        let mut command = self.command(args);
        command.envs(env.iter().copied()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A program that reads nothing closes the pipe; that is its business.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Done {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Done {
    /// Stdout of a run that must have gone well and quietly.
    pub(crate) fn quiet(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }
}

pub(crate) async fn serve(handler: impl Handler) -> Server {
    Server::start(handler).await.unwrap()
}

/// A server with the one model `m`.
pub(crate) async fn emulator() -> Server {
    serve(Emulator::new().model("m")).await
}

/// What the emulator answers.
pub(crate) fn echo(question: &str) -> String {
    format!("You said: \"{question}\". This answer comes from Loom's emulated endpoint.")
}

/// One chunk of a stream.
pub(crate) fn chunk(delta: serde_json::Value, finish_reason: Option<&str>) -> String {
    serde_json::json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}).to_string()
}

/// The key that a server got last, if any.
pub(crate) fn last_key(server: &Server) -> Option<String> {
    server.requests().last().and_then(|request| request.header("authorization").map(str::to_owned))
}
