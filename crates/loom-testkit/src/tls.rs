//! Servers that speak TLS, with certificates of an authority that exists for one test only.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::connection::Transport;
use crate::handler::Handler;
use crate::server::Server;

/// A certificate authority that only those trust who are given its [certificate](TestCa::pem).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use loom_testkit::TestCa;
///
/// let ca = TestCa::new()?;
/// let identity = ca.issue(&["your-service.com", "127.0.0.1"])?;
/// assert!(ca.pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok(())
/// # }
/// ```
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl TestCa {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "loom-testkit test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        Ok(Self { issuer })
    }

    /// The certificate of the authority, in PEM: what a client is given to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate, with its key, for a server of these names. A name may be an IP address.
    ///
    /// # Errors
    /// When a name is neither a host name nor an address.
    pub fn issue(&self, names: &[&str]) -> io::Result<TlsIdentity> {
        TlsIdentity::new(self.sign(names, |_| ())?, None)
    }

    /// The same, but the certificate has expired in the year 2001.
    ///
    /// # Errors
    /// When a name is neither a host name nor an address.
    pub fn issue_expired(&self, names: &[&str]) -> io::Result<TlsIdentity> {
        let expired = |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        };
        TlsIdentity::new(self.sign(names, expired)?, None)
    }

    /// A certificate for a server that wants one of this authority from its clients, too.
    ///
    /// # Errors
    /// When a name is neither a host name nor an address.
    pub fn issue_mutual(&self, names: &[&str]) -> io::Result<TlsIdentity> {
        TlsIdentity::new(self.sign(names, |_| ())?, Some(self.issuer.der().clone()))
    }

    /// A certificate for a client and its key, both in PEM.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn issue_client(&self, name: &str) -> io::Result<(String, String)> {
        let (certificate, key) = self.sign(&[name], |_| ())?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn sign(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> io::Result<(Certificate, KeyPair)> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, "loom-testkit test server");
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        Ok((certificate, key))
    }
}

impl TlsIdentity {
    fn new(
        (certificate, key): (Certificate, KeyPair),
        clients_of: Option<CertificateDer<'static>>,
    ) -> io::Result<Self> {
        // The provider is named, since a program may have linked several and rustls then refuses to choose.
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match clients_of {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority).map_err(io::Error::other)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(io::Error::other)?)
            }
        };
        let config = builder
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .map_err(io::Error::other)?;
        Ok(Self { config: Arc::new(config) })
    }
}

impl std::fmt::Debug for TestCa {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestCa").finish_non_exhaustive()
    }
}

/// The certificate and the key with which a server proves its names.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for TlsIdentity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

impl Server {
    /// Starts a server that speaks HTTPS on a free port of 127.0.0.1. Its URLs name `127.0.0.1`, so a client
    /// that uses them as they are needs an identity issued for that address.
    ///
    /// # Errors
    /// When the system has no port to give.
    pub async fn start_tls(handler: impl Handler, identity: TlsIdentity) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let acceptor = TlsAcceptor::from(identity.config);
        Self::run("https", listener, handler, move |stream| acceptor.accept(stream))
    }
}

impl Transport for TlsStream<TcpStream> {
    fn reset_on_close(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }

    fn is_resumed(&self) -> bool {
        self.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}
