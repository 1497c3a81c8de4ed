//! An emulated endpoint to try the command on by hand: `cargo run -p loom-cli --example emulated -- 200` takes 200 ms per
//! token. It prints its base URL, and a line whenever its connections change; it runs until it is killed.

use std::io::{self, Write};
use std::time::Duration;

use loom_testkit::{Emulator, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let delay = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let emulator = Emulator::new().model("emulated").token_delay(Duration::from_millis(delay));
    let server = Server::start(emulator).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", server.base_url())?;
    let mut known = server.connections();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = server.connections();
        if now != known {
            writeln!(out, "opened={} open={} aborted={}", now.opened, now.open, now.aborted)?;
            known = now;
        }
    }
}
