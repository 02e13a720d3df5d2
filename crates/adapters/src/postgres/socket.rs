//! The bytes between us and a server: TCP, a Unix socket, or TLS on TCP.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::dsn::{Address, Dsn, TlsMode};
use super::error::{PgError, Result};

/// Longest wait for the server to take what we send.
const SEND: Duration = Duration::from_secs(60);

/// An open way to a server.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Opens one, encrypted as asked for.
    pub(crate) fn open(address: &Address, dsn: &Dsn) -> Result<Socket> {
        let failed = |error| PgError::io(format!("no server answers at {address}"), error);
        match address {
            Address::Socket(folder, port) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                let socket = UnixStream::connect(path).map_err(failed)?;
                socket.set_write_timeout(Some(SEND)).map_err(failed)?;
                Ok(Socket::Unix(socket))
            }
            Address::Tcp(host, port) => {
                let socket = dial(host, *port, dsn.connect_timeout).map_err(failed)?;
                prepare(&socket, dsn.connect_timeout).map_err(failed)?;
                encrypt(socket, host, dsn)
            }
        }
    }

    /// Longest wait of a read; `None` is for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        // A wait of nothing would be one for ever.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        match self {
            Socket::Tcp(socket) => socket.set_read_timeout(timeout),
            Socket::Unix(socket) => socket.set_read_timeout(timeout),
            Socket::Tls(socket) => socket.sock.set_read_timeout(timeout),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Unix(socket) => socket.read(buffer),
            Socket::Tls(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(buffer),
            Socket::Unix(socket) => socket.write(buffer),
            Socket::Tls(socket) => socket.write(buffer),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.flush(),
            Socket::Unix(socket) => socket.flush(),
            Socket::Tls(socket) => socket.flush(),
        }
    }
}

fn dial(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A dead peer is noticed within a minute and a half.
fn prepare(socket: &TcpStream, timeout: Duration) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(socket, 6)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(SEND))?;
    socket.set_read_timeout(Some(timeout))
}

fn encrypt(mut socket: TcpStream, host: &str, dsn: &Dsn) -> Result<Socket> {
    if dsn.tls == TlsMode::Disable {
        return Ok(Socket::Tcp(socket));
    }
    let lost = |error| PgError::io(format!("the TLS connection with {host} failed"), error);
    // SSLRequest; the answer is one byte, and nothing may come with it before the handshake.
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).map_err(lost)?;
    let mut answer = [0];
    socket.read_exact(&mut answer).map_err(lost)?;
    match (answer[0], dsn.tls) {
        (b'S', _) => {}
        (b'N', TlsMode::Prefer) => return Ok(Socket::Tcp(socket)),
        (b'N', _) => {
            let hint =
                "set `ssl = on` at the server, or `sslmode=disable` within a trusted network";
            return Err(PgError::unfit(format!("{host} offers no TLS"), hint));
        }
        _ => return Err(PgError::protocol("it is no PostgreSQL server")),
    }
    let refused = |error: rustls::Error| PgError::Unfit {
        what: format!("the TLS connection with {host} cannot be trusted: {error}"),
        hint: "name the authority's file with `sslrootcert=`".to_owned(),
        said: None,
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        PgError::unfit(format!("`{host}` is no name for TLS"), "write another host")
    })?;
    let config = configuration(dsn)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(refused)?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut socket) {
            return Err(match error.get_ref().and_then(|cause| cause.downcast_ref()) {
                Some(tls) => refused(rustls::Error::clone(tls)),
                None => lost(error),
            });
        }
    }
    Ok(Socket::Tls(Box::new(StreamOwned::new(session, socket))))
}

fn configuration(dsn: &Dsn) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let wrong =
        |what: String| PgError::unfit(what, "name the authority's file with `sslrootcert=`");
    let mut own = Vec::new();
    let verifier = match dsn.tls {
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => None,
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let mut roots = RootCertStore::empty();
            for certificate in authorities(dsn)? {
                let added = roots.add(certificate.clone());
                if dsn.root.is_some() {
                    own.push(certificate);
                    added.map_err(|error| {
                        wrong(format!("the authority's file is wrong: {error}"))
                    })?;
                }
            }
            let inner = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
            Some(inner.build().map_err(|error| wrong(format!("no authority is known: {error}")))?)
        }
    };
    let any_name = dsn.tls != TlsMode::VerifyFull;
    let trust = Trust { verifier, own, provider: provider.clone(), any_name };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("TLS cannot be set up: {error}")))?;
    let verifier = Arc::new(trust);
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn authorities(dsn: &Dsn) -> Result<Vec<CertificateDer<'static>>> {
    let Some(file) = &dsn.root else {
        return Ok(rustls_native_certs::load_native_certs().certs);
    };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| {
        let what = format!("{} holds no certificates: {error}", file.display());
        PgError::unfit(what, "`sslrootcert` names a file in PEM format")
    })
}

/// How far a server's certificate is asked, by `sslmode`.
#[derive(Debug)]
struct Trust {
    /// None: any certificate will do.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that the user named: a server may show one of them itself.
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    /// A certificate for another host will do.
    any_name: bool,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(verifier) = &self.verifier else { return Ok(ServerCertVerified::assertion()) };
        if self.own.iter().any(|own| own == certificate) {
            if !self.any_name {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match verifier.verify_server_cert(certificate, between, name, stapled, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
