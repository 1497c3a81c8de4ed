//! Where a redirect may lead: neither the key nor the prompt goes to another origin unasked.

use http::header::LOCATION;
use loom_wire::LlmError;
use url::Url;

use super::base_url::visible;
use super::response::Response;

/// Where a redirect leads, if the key may go there: the same origin, or the same host from port 80 to TLS on 443.
pub(super) fn redirected(from: &Url, response: &Response) -> Result<Url, LlmError> {
    let status = response.status.as_u16();
    let target = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.and_then(|text| from.join(text).ok());
    let mut refused = LlmError::bad_response("the endpoint redirects without saying where");
    if let Some(target) = target {
        let upgraded = from.host() == target.host()
            && (from.scheme(), from.port_or_known_default()) == ("http", Some(80))
            && (target.scheme(), target.port_or_known_default()) == ("https", Some(443));
        if matches!(status, 301 | 302 | 307 | 308) && (from.origin() == target.origin() || upgraded) {
            return Ok(target);
        }
        refused = LlmError::bad_response(format!("the endpoint redirects to {}", visible(&target))).with_hint(
            "the key and the prompt are not sent to another origin unasked: if that address is right, use it as base_url",
        );
    }
    refused.status_code = Some(status);
    Err(refused)
}
