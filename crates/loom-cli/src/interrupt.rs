//! Ctrl-C, heard from one place for as long as a command runs.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// Hears Ctrl-C on a task of its own: one that comes while nobody waits is kept for who waits next. From then on the
/// process no longer ends by it.
pub(crate) struct Interrupt(Arc<Notify>);

impl Interrupt {
    /// Begins to listen.
    pub(crate) fn new(runtime: &Runtime) -> Self {
        // The handler must stand before rustyline sets its own: that one puts back, when it goes, what it has found.
        runtime.block_on(async {
            let _ = tokio::signal::ctrl_c().now_or_never();
        });
        let pressed = Arc::new(Notify::new());
        let notify = Arc::clone(&pressed);
        runtime.spawn(async move {
            // Where it cannot be caught, it ends the process as it always did.
            while tokio::signal::ctrl_c().await.is_ok() {
                notify.notify_one();
            }
        });
        Self(pressed)
    }

    /// Resolves when Ctrl-C is pressed, or has been since the last time.
    pub(crate) async fn pressed(&self) {
        self.0.notified().await;
    }

    /// Forgets one that was pressed before, when there was nothing to stop.
    pub(crate) fn forget(&self) {
        let _ = self.0.notified().now_or_never();
    }
}
