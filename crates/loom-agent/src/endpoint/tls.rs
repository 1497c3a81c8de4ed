//! TLS: whom to trust, how to prove who one is, and which versions to speak.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use loom_wire::LlmError;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde::Deserialize;

use super::certificate::{Anyone, Explaining};
use super::environment::Environment;
use super::network::{ClientCert, Network};

/// A version of TLS. Older ones are not spoken at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

static ONLY_TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// What the settings come to, the files read. Endpoints that agree in it share their connections.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    authorities: Option<File>,
    client: Option<(File, File)>,
    min_version: Option<TlsVersion>,
    pub(super) skip_verify: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn read(setting: &str, path: &Path) -> Result<Self, LlmError> {
        let bytes = std::fs::read(path).map_err(|error| {
            LlmError::config(format!("{setting}: {} cannot be read: {error}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    fn certificates(&self, setting: &str) -> Result<Vec<CertificateDer<'static>>, LlmError> {
        let wrong = |why: String| LlmError::config(format!("{setting}: {} {why}", self.path.display()));
        let found: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("is not PEM: {error}")))?;
        if found.is_empty() {
            return Err(wrong("holds no certificate in PEM form".to_owned()).with_hint(
                "a file in DER form is converted by: openssl x509 -inform der -in FILE -out FILE.pem",
            ));
        }
        Ok(found)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, LlmError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|_| {
            let encrypted = self.bytes.windows(9).any(|part| part == b"ENCRYPTED");
            LlmError::config(format!(
                "cert: {} {}",
                self.path.display(),
                if encrypted { "holds an encrypted key" } else { "holds no private key in PEM form" }
            ))
            .with_hint("an encrypted key is decrypted by: openssl pkey -in FILE -out KEY.pem")
        })
    }
}

impl Tls {
    /// Reads the files that the settings name and checks that they hold what they should.
    pub(super) fn read(network: &Network) -> Result<Self, LlmError> {
        let authorities = network.verify.as_deref().map(|path| File::read("verify", path)).transpose()?;
        let client = match &network.cert {
            None => None,
            Some(ClientCert::Both(path)) => {
                let file = File::read("cert", path)?;
                Some((file.clone(), file))
            }
            Some(ClientCert::Pair(cert, key)) => Some((File::read("cert", cert)?, File::read("cert", key)?)),
        };
        let skip_verify = network.dangerously_skip_verify;
        let tls = Self { authorities, client, min_version: network.min_tls_version, skip_verify };
        // The system's roots are read when the first connection is made; what is wrong with one's own is said at once.
        if tls.authorities.is_some() || tls.client.is_some() {
            tls.build(RootCertStore::empty())?;
        }
        Ok(tls)
    }

    /// The configuration, with the authorities of the system or the environment; `None`: there is no TLS on the way.
    pub(super) fn config(&self, environment: Option<&Environment>) -> Result<ClientConfig, LlmError> {
        self.build(match environment {
            Some(environment) if !self.skip_verify => roots(environment)?,
            _ => RootCertStore::empty(),
        })
    }

    fn build(&self, mut roots: RootCertStore) -> Result<ClientConfig, LlmError> {
        let failed = |error: rustls::Error| LlmError::config(format!("TLS cannot be set up: {error}"));
        if let Some(file) = &self.authorities {
            for certificate in file.certificates("verify")? {
                roots.add(certificate).map_err(|error| {
                    LlmError::config(format!(
                        "verify: {} holds a certificate that cannot be used: {error}",
                        file.path.display()
                    ))
                })?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions())
            .map_err(failed)?
            .dangerous();
        let builder = if self.skip_verify {
            builder.with_custom_certificate_verifier(Arc::new(Anyone::new(provider)))
        } else {
            builder.with_custom_certificate_verifier(Arc::new(Explaining::new(verifier(roots, provider)?)))
        };
        match &self.client {
            None => Ok(builder.with_no_client_auth()),
            Some((cert, key)) => {
                builder.with_client_auth_cert(cert.certificates("cert")?, key.key()?).map_err(|error| {
                    LlmError::config(format!("cert: certificate and key cannot be used together: {error}"))
                        .with_hint("does the key belong to the first certificate of the file?")
                })
            }
        }
    }

    /// The versions from the lowest one on.
    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.min_version {
            Some(TlsVersion::Tls13) => ONLY_TLS13,
            _ => rustls::DEFAULT_VERSIONS,
        }
    }
}

/// The verifier that knows nobody is of no use but to check the other settings.
fn verifier(
    mut roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, LlmError> {
    if roots.is_empty() {
        return Ok(None);
    }
    roots.roots.shrink_to_fit();
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map(Some)
        .map_err(|error| LlmError::config(format!("TLS cannot be set up: {error}")))
}

/// The authorities that are trusted: the system's, or those that the environment names.
fn roots(environment: &Environment) -> Result<RootCertStore, LlmError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    let Some((name, value)) = environment.certificates.first() else {
        for error in &found.errors {
            tracing::warn!(target: "loom", %error, "some of the system's certificates cannot be read");
        }
        return Ok(roots);
    };
    // What the user named and what cannot be used must not fail as "unknown issuer" later.
    let refused = |why: String| {
        LlmError::config(why).with_hint(
            "SSL_CERT_FILE names a PEM file, SSL_CERT_DIR a folder of them; unset them for the system's own",
        )
    };
    if value.is_empty() {
        return Err(refused(format!("{name} is set but empty")));
    }
    if let Some(error) = found.errors.first() {
        return Err(refused(format!("the certificates that {name} names cannot be read: {error}")));
    }
    if usable == 0 {
        return Err(refused(format!("{name} names no certificate: there is none in {}", value.display())));
    }
    Ok(roots)
}
