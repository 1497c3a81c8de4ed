//! The server of the load: in this process, or in one of its own that can be measured apart and killed.

use std::process::Stdio;
use std::time::Duration;

use loom_testkit::{Reply, Server};
use tokio::process::{Child as Process, Command};

/// The deltas of a slow stream: 20 a second for five seconds.
pub(crate) const SLOW_TEXT: [&str; 100] = ["tok "; 100];

/// The argument that makes this program the server.
const SERVE: &str = "--serve=";

pub(crate) mod answers {
    use super::{Duration, Reply};
    use loom_testkit::Piece;

    pub(crate) const TEXT: &str = "the right answer";

    fn delta(text: &str) -> String {
        format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#)
    }

    fn stream<'a>(texts: impl IntoIterator<Item = &'a str>) -> Reply {
        let end = [
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned(),
            "[DONE]".to_owned(),
        ];
        Reply::sse(texts.into_iter().map(delta).chain(end))
    }

    pub(crate) fn right() -> Reply {
        stream(["the ", "right ", "answer"])
    }

    pub(crate) fn slow() -> Reply {
        stream(super::SLOW_TEXT).delay_between(Duration::from_millis(50))
    }

    pub(crate) fn drip() -> Reply {
        right().split_every(7).delay_between(Duration::from_millis(5))
    }

    pub(crate) fn endless() -> Reply {
        Reply::sse((0..5).map(|_| delta("more "))).then(Piece::Hang)
    }

    /// A beginning, and then this.
    pub(crate) fn begun(then: Piece) -> Reply {
        Reply::sse([delta("the ")]).then(Piece::Delay(Duration::from_millis(50))).then(then)
    }
}

/// The port to serve on, if this process is to be the server.
pub(crate) fn port_to_serve(arguments: &[String]) -> Option<u16> {
    arguments.iter().find_map(|argument| argument.strip_prefix(SERVE)).map(|port| port.parse().unwrap())
}

/// Serves slow streams until it is killed.
pub(crate) async fn serve(port: u16) {
    let server = Server::bind(("127.0.0.1", port), |_: &_| answers::slow()).await.unwrap();
    println!("{}", server.port());
    std::future::pending::<()>().await;
}

/// The server in a process of its own; killed when this is dropped.
pub(crate) struct Child {
    process: Process,
    port: u16,
}

impl Child {
    pub(crate) async fn start() -> Self {
        Self::start_at(0).await
    }

    pub(crate) async fn start_at(port: u16) -> Self {
        use tokio::io::{AsyncBufReadExt, BufReader};
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(format!("{SERVE}{port}"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Self { process, port: line.trim().parse().unwrap() }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As `kill -9` does it.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}
