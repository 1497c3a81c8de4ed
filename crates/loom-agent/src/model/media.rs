//! Files that messages name, read before a call is sent.

use std::sync::Arc;

use loom_wire::{LlmError, Message, part};

/// Brings images, audio and files to the form that servers take. Messages without any are not touched.
///
/// # Errors
/// `config`, naming the file or part and what is wrong with it.
pub(crate) async fn load(messages: &mut Vec<Arc<Message>>) -> Result<(), LlmError> {
    if !messages.iter().any(|message| part::has_short_parts(message)) {
        return Ok(());
    }
    let mut loaded = messages.clone();
    // Files may lie on a slow disk, and base64 takes its time with large ones.
    let work = tokio::task::spawn_blocking(move || {
        for message in &mut loaded {
            if part::has_short_parts(message) {
                part::resolve(Arc::make_mut(message), &|path| std::fs::read(path))?;
            }
        }
        Ok(loaded)
    });
    *messages =
        work.await.map_err(|error| LlmError::config(format!("the parts cannot be read: {error}")))??;
    Ok(())
}
