//! A server in a process of its own: its standard input and output are the connection, and it ends with it.
//!
//! Three things end it: closing the connection (its input ends, then it is asked to, then it is killed), dropping it, and
//! the end of this program, however that comes about: by the end of its input, and on Linux by a signal as well.

use std::collections::VecDeque;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// The most bytes of one message. What is longer ends the connection: it was not read, so nothing can be answered to it.
const LONGEST_MESSAGE: usize = 16 * 1024 * 1024;
/// How long a server may take to end, once after the end of its input and once after the signal.
const PATIENCE: Duration = Duration::from_secs(2);
/// How much of what a server says on its standard error is kept.
const KEPT: usize = 2048;

/// The variables that a server gets from this program's environment: what it takes to find programs, files, a language
/// and the way into the network. Keys and the like are not among them; what a server needs is given to it.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // Windows
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMFILES",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
];

/// What is known about a server beside its messages, for errors.
#[derive(Default)]
pub(super) struct Remarks(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    /// The end of what it said on standard error.
    stderr: VecDeque<u8>,
    /// The first line on standard output that is no message.
    garbage: Option<String>,
    /// Why the connection ended.
    end: Option<String>,
}

impl Remarks {
    fn with<T>(&self, change: impl FnOnce(&mut Heard) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the connection ended, as far as it is known.
    pub(super) fn end(&self) -> Option<String> {
        self.with(|heard| heard.end.clone())
    }

    /// What else it said, to be put behind an error; empty if nothing.
    pub(super) fn said(&self) -> String {
        self.with(|heard| {
            let mut said = String::new();
            if let Some(line) = &heard.garbage {
                said.push_str(&format!("; it wrote to its standard output what is no MCP message: {line:?}"));
            }
            let bytes: Vec<u8> = heard.stderr.iter().copied().collect();
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim();
            if !text.is_empty() {
                said.push_str(&format!("; it said: {text}"));
            }
            said
        })
    }
}

/// A running server and the way to it.
pub(super) struct ChildTransport {
    child: Option<Running>,
    input: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
    output: BufReader<ChildStdout>,
    line: Vec<u8>,
    remarks: Arc<Remarks>,
}

impl ChildTransport {
    /// Starts a server. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(super) async fn start(
        words: &[String],
        env: &[(String, String)],
        folder: Option<&std::path::Path>,
    ) -> io::Result<(Self, Arc<Remarks>)> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"));
        };
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own: Ctrl-C is for this program, and what the server started ends with it.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = Running::start(command).await?;
        let missing = || io::Error::other("its standard input and output cannot be had");
        let input = child.child.stdin.take().ok_or_else(missing)?;
        let output = child.child.stdout.take().ok_or_else(missing)?;
        let remarks = Arc::new(Remarks::default());
        if let Some(stderr) = child.child.stderr.take() {
            tokio::spawn(listen(stderr, Arc::clone(&remarks)));
        }
        let transport = Self {
            child: Some(child),
            input: Arc::new(tokio::sync::Mutex::new(Some(input))),
            output: BufReader::new(output),
            line: Vec::new(),
            remarks: Arc::clone(&remarks),
        };
        Ok((transport, remarks))
    }

    /// The next line; `None` at the end. What has been read of one is kept if the wait is given up.
    async fn read_line(&mut self) -> Option<()> {
        loop {
            let available = match self.output.fill_buf().await {
                Ok(bytes) if !bytes.is_empty() => bytes,
                Ok(_) => return None,
                Err(error) => {
                    self.remarks.with(|heard| heard.end = Some(error.to_string()));
                    return None;
                }
            };
            let end = memchr::memchr(b'\n', available);
            let taken = end.map_or(available.len(), |at| at + 1);
            self.line.extend(available.iter().take(taken));
            self.output.consume(taken);
            if self.line.len() > LONGEST_MESSAGE {
                let why = format!("it sent a message of more than {} MiB", LONGEST_MESSAGE >> 20);
                self.remarks.with(|heard| heard.end = Some(why));
                return None;
            }
            if end.is_some() {
                return Some(());
            }
        }
    }
}

impl Transport<RoleClient> for ChildTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let input = Arc::clone(&self.input);
        async move {
            let mut line = serde_json::to_vec(&item)?;
            line.push(b'\n');
            let mut input = input.lock().await;
            let Some(pipe) = input.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
            pipe.write_all(&line).await?;
            pipe.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            if self.read_line().await.is_none() {
                if let Some(child) = &mut self.child {
                    let status = tokio::time::timeout(Duration::from_millis(500), child.child.wait()).await;
                    let end = match status {
                        Ok(Ok(status)) => status.to_string(),
                        _ => "it closed its standard output".to_owned(),
                    };
                    self.remarks.with(|heard| heard.end.get_or_insert(end).len());
                }
                return None;
            }
            let message = serde_json::from_slice(&self.line);
            let line = std::mem::take(&mut self.line);
            match message {
                Ok(message) => return Some(message),
                Err(_) if line.trim_ascii().is_empty() => {}
                // Servers print banners and logs there. They are passed by, and remembered in case nothing else comes.
                Err(error) => {
                    tracing::debug!(target: "loom", "an MCP server wrote what is no message: {error}");
                    let shown: String = String::from_utf8_lossy(&line).trim().chars().take(200).collect();
                    self.remarks.with(|heard| heard.garbage.get_or_insert(shown).len());
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.input.lock().await.take();
        let Some(mut running) = self.child.take() else { return Ok(()) };
        for last in [false, true] {
            if tokio::time::timeout(PATIENCE, running.child.wait()).await.is_ok() {
                break;
            }
            running.signal(last);
        }
        // What it had started and left behind.
        running.signal(true);
        running.child.kill().await
    }
}

impl Drop for ChildTransport {
    fn drop(&mut self) {
        // Writing to a process that has just ended fails before its output ends: here its status is still to be had.
        if let Some(Ok(Some(status))) = self.child.as_mut().map(|running| running.child.try_wait()) {
            self.remarks.with(|heard| heard.end.get_or_insert(status.to_string()).len());
        }
    }
}

/// The process; killed with all that it started when this is dropped.
struct Running {
    child: Child,
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
    /// Ends the thread that started it, when dropped.
    #[cfg(target_os = "linux")]
    _starter: std::sync::mpsc::Sender<()>,
}

impl Running {
    #[cfg(target_os = "linux")]
    async fn start(mut command: Command) -> io::Result<Self> {
        end_with_this_program(&mut command);
        // The signal comes when the thread that started the process ends, so that one lives as long as the process.
        let runtime = tokio::runtime::Handle::current();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (starter, dropped) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("loom-mcp".to_owned()).stack_size(64 * 1024).spawn(move || {
            let spawned = {
                let _entered = runtime.enter();
                command.spawn()
            };
            drop(runtime);
            if sender.send(spawned).is_ok() {
                // Nothing is ever sent: this is the wait for the other end to be dropped.
                let _ = dropped.recv();
            }
        })?;
        let child = receiver.await.map_err(io::Error::other)??;
        Ok(Self { group: group_of(&child), child, _starter: starter })
    }

    #[cfg(not(target_os = "linux"))]
    async fn start(mut command: Command) -> io::Result<Self> {
        let child = command.spawn()?;
        Ok(Self {
            #[cfg(unix)]
            group: group_of(&child),
            child,
        })
    }

    /// Asks the process and what it started to end, or ends them.
    fn signal(&self, kill: bool) {
        #[cfg(unix)]
        if let Some(group) = self.group {
            use rustix::process::{Signal, kill_process_group};
            // There may be nobody left.
            let _ = kill_process_group(group, if kill { Signal::KILL } else { Signal::TERM });
        }
        #[cfg(not(unix))]
        let _ = kill;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The child of tokio kills the process itself; a group may have more of them.
        if self.child.id().is_some() {
            self.signal(true);
        }
    }
}

#[cfg(unix)]
fn group_of(child: &Child) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

/// Has the system kill the process when this program ends in a way that leaves no time to do it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn end_with_this_program(command: &mut Command) {
    let parent = rustix::process::getpid();
    let set = move || {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended already.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
    };
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(set);
    }
}

/// Keeps the end of what a server says on standard error.
async fn listen(mut stderr: ChildStderr, remarks: Arc<Remarks>) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        let read = bytes.get(..count).unwrap_or_default();
        tracing::debug!(target: "loom", "an MCP server says: {}", String::from_utf8_lossy(read).trim_end());
        remarks.with(|heard| {
            heard.stderr.extend(read);
            let over = heard.stderr.len().saturating_sub(KEPT);
            heard.stderr.drain(..over);
        });
    }
}
