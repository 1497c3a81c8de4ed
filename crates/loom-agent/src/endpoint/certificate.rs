//! Judging a server's certificate, and saying what is wrong with it: whose it is, who issued it, until when it held.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use loom_wire::{ErrorKind, LlmError};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

/// The usual verifier, whose refusals say what is wrong.
#[derive(Debug)]
pub(super) struct Explaining(Option<Arc<WebPkiServerVerifier>>);

impl Explaining {
    /// `None`: no authority is known.
    pub(super) fn new(inner: Option<Arc<WebPkiServerVerifier>>) -> Self {
        Self(inner)
    }

    fn inner(&self) -> Result<&Arc<WebPkiServerVerifier>, Error> {
        self.0
            .as_ref()
            .ok_or_else(|| Error::General("no certificate authority is known on this machine".to_owned()))
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map_err(
            |error| match Flaw::of(&error, end_entity, intermediates) {
                Some(flaw) => CertificateError::Other(OtherError(Arc::new(flaw))).into(),
                None => error,
            },
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.as_ref().map(|inner| inner.supported_verify_schemes()).unwrap_or_default()
    }
}

/// Takes any certificate: `dangerously_skip_verify`. That the server holds the certificate's key is still checked.
#[derive(Debug)]
pub(super) struct Anyone(Arc<CryptoProvider>);

impl Anyone {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flaw {
    Expired { until: Option<SystemTime> },
    NotYet { from: Option<SystemTime> },
    OtherName { names: Vec<String> },
    UnknownIssuer { issuer: Option<String>, by_itself: bool },
}

impl Flaw {
    fn of(
        error: &Error,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else { return None };
        let time = |time: &UnixTime| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
        Some(match error {
            CertificateError::Expired => Self::Expired { until: None },
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired { until: time(not_after) },
            CertificateError::NotValidYet => Self::NotYet { from: None },
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYet { from: time(not_before) }
            }
            CertificateError::NotValidForName => Self::OtherName { names: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherName { names: presented.iter().map(|name| plain_name(name)).collect() }
            }
            CertificateError::UnknownIssuer => {
                let last = intermediates.last().unwrap_or(end_entity);
                let last = webpki::EndEntityCert::try_from(last).ok()?;
                Self::UnknownIssuer {
                    issuer: readable_name(last.issuer()),
                    by_itself: intermediates.is_empty() && last.issuer() == last.subject(),
                }
            }
            _ => return None,
        })
    }

    /// The error and what cures it.
    fn explain(&self, place: &str) -> LlmError {
        let day = |time: &Option<SystemTime>| {
            time.map(|time| format!(" ({})", httpdate::fmt_http_date(time))).unwrap_or_default()
        };
        let clock = "is this machine's clock right?";
        let (message, hint) = match self {
            Self::Expired { until } => (
                format!("the certificate of {place} has expired{}", day(until)),
                format!("its operator must renew it; {clock}"),
            ),
            Self::NotYet { from } => {
                (format!("the certificate of {place} is not valid yet{}", day(from)), clock.to_owned())
            }
            Self::OtherName { names } if names.is_empty() => (
                format!("the certificate of {place} is for another host"),
                "it names no host in a form that is accepted today (subjectAltName)".to_owned(),
            ),
            Self::OtherName { names } => (
                format!("the certificate of {place} is for another host: {}", names.join(", ")),
                "use one of these names in base_url; `resolve` gives a name its address".to_owned(),
            ),
            Self::UnknownIssuer { issuer, by_itself } => {
                let issuer = issuer.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
                let issuer = if *by_itself { format!("{issuer} (signed by itself)") } else { issuer };
                (
                    format!("the certificate of {place} is from an issuer that is not trusted here{issuer}"),
                    "if it is your company's, give its certificate as verify=\"/path/ca.pem\", or set SSL_CERT_FILE to \
                     a PEM file with it"
                        .to_owned(),
                )
            }
        };
        LlmError::new(ErrorKind::Connection, message).with_hint(hint).with_retryable(false)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explain("the server").message)
    }
}

impl std::error::Error for Flaw {}

/// What the causes of a failed connection say about certificates, if that is why it failed.
pub(super) fn explain<'a>(
    causes: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>,
    place: &str,
) -> Option<LlmError> {
    for tls in causes.filter_map(|cause| cause.downcast_ref::<Error>()) {
        match tls {
            Error::InvalidCertificate(CertificateError::Other(OtherError(flaw))) => {
                return flaw.downcast_ref::<Flaw>().map(|flaw| flaw.explain(place));
            }
            Error::AlertReceived(alert) => return refused_by_the_server(*alert, place),
            _ => {}
        }
    }
    None
}

fn refused_by_the_server(alert: rustls::AlertDescription, place: &str) -> Option<LlmError> {
    use rustls::AlertDescription as Alert;
    let (why, hint) = match alert {
        Alert::CertificateRequired => {
            ("it wants a certificate from its clients", "give yours as cert=(\"client.pem\", \"client.key\")")
        }
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::AccessDenied
        | Alert::DecryptError => (
            "it does not accept the client's certificate",
            "is `cert` issued by the authority that the server trusts, and unexpired?",
        ),
        Alert::ProtocolVersion => (
            "it speaks no version of TLS that is allowed here",
            "TLS 1.2 and 1.3 are spoken; see min_tls_version",
        ),
        _ => return None,
    };
    let message = format!("{place} refused the TLS connection: {why}");
    Some(LlmError::new(ErrorKind::Connection, message).with_hint(hint).with_retryable(false))
}

/// `DnsName("a.example")` → `a.example`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').to_owned()
}

/// The common name, else the organisation, of a distinguished name in DER.
fn readable_name(der: &[u8]) -> Option<String> {
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
    const ORGANISATION: [u8; 3] = [0x55, 0x04, 0x0a];
    let mut organisation = None;
    // What webpki hands out is the inside of the outer sequence: sets of (type, value).
    let mut rest = der;
    while let Some((set, after)) = element(rest) {
        rest = after;
        let mut pairs = set;
        while let Some((pair, others)) = element(pairs) {
            pairs = others;
            let Some((kind, value)) = element(pair) else { continue };
            let Some((text, _)) = element(value) else { continue };
            let text = || String::from_utf8_lossy(text).into_owned();
            if kind == COMMON_NAME {
                return Some(text());
            }
            if kind == ORGANISATION {
                organisation = Some(text());
            }
        }
    }
    organisation
}

/// The content of the first element of some DER, and what stands behind it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, head) = match usize::from(*der.get(1)?) {
        short @ 0..=0x7f => (short, 2),
        0x81 => (usize::from(*der.get(2)?), 3),
        0x82 => (usize::from(*der.get(2)?) << 8 | usize::from(*der.get(3)?), 4),
        _ => return None,
    };
    let end = head + length;
    Some((der.get(head..end)?, der.get(end..)?))
}
