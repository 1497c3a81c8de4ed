//! An httpx client as the way out: `loom._httpx` sends and reads with it, this hands the bytes on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use loom::endpoint::{ByteStream, CallbackError, Transport};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::callback::{self, Caller, in_python};

/// A user's `httpx.AsyncClient` or `httpx.Client`.
pub(crate) struct Httpx(pub(crate) Arc<Py<PyAny>>);

impl Transport for Httpx {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<ByteStream>, CallbackError>> {
        send(Arc::clone(&self.0), request).boxed()
    }
}

/// An answer under way; it is closed when nobody reads it any more.
struct Reader {
    /// Python's `_httpx.Reader`.
    reader: Option<Py<PyAny>>,
    caller: Option<Arc<Caller>>,
}

async fn send(
    client: Arc<Py<PyAny>>,
    request: http::Request<Bytes>,
) -> Result<http::Response<ByteStream>, CallbackError> {
    let open = in_python(|py| {
        let closed = client
            .bind(py)
            .getattr_opt("is_closed")?
            .is_some_and(|closed| closed.is_truthy().unwrap_or(false));
        Ok(if closed { None } else { Some(py.import("loom._httpx")?.getattr("open")?.unbind()) })
    })?;
    let open = open.ok_or_else(|| {
        loom::LlmError::config("http_client: the httpx client that was given is closed")
            .with_hint("keep it open for as long as the LLM is used: make the calls within its `with` block")
    })?;
    let args = move |py: Python<'_>| {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<(String, String)> =
            request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let (method, url) = (request.method().as_str(), request.uri().to_string());
        (client.bind(py), method, url, headers, PyBytes::new(py, request.body()))
            .into_pyobject(py)
            .map(Bound::unbind)
    };
    let caller = callback::caller();
    let for_reader = caller.clone();
    let read = move |answer: Bound<'_, PyAny>| {
        let (status, headers, reader): (u16, Vec<(String, String)>, Py<PyAny>) = answer.extract()?;
        // In a guard at once: whoever is cancelled from here on closes it.
        Ok((status, headers, Reader { reader: Some(reader), caller: for_reader }))
    };
    let (status, headers, reader) = callback::call(open, args, read).await?;
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body: ByteStream = Box::pin(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }));
    Ok(response.body(body)?)
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, CallbackError> {
        let reader = self.reader.as_ref().ok_or("the answer was closed")?;
        let read = in_python(|py| Ok(reader.bind(py).getattr("read")?.unbind()))?;
        let bytes = |bytes: Bound<'_, PyAny>| Ok(bytes.extract::<Option<Vec<u8>>>()?.map(Bytes::from));
        let read = callback::call(read, |py| Ok(PyTuple::empty(py).unbind()), bytes);
        let result = callback::scope(self.caller.clone(), read).await;
        if !matches!(result, Ok(Some(_))) {
            // It has ended, and closed itself.
            self.forget();
        }
        result
    }

    fn forget(&mut self) {
        if let Some(reader) = self.reader.take() {
            crate::runtime::attach(|_| drop(reader));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (Some(reader), caller) = (self.reader.take(), self.caller.take()) else { return };
        crate::runtime::attach(|py| {
            // A loop that is closed has closed its connections, too.
            let _ = caller.as_ref().map_or_else(
                || reader.bind(py).call_method1("close", (py.None(),)),
                |caller| reader.bind(py).call_method1("close", (caller.event_loop(py),)),
            );
        });
    }
}
