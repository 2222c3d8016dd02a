//! A server of the constant service for a test, and a client that says whatever the test wants.

#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../../examples/constant/service.rs"]
pub(crate) mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::{Bytes, BytesMut};
use resprout_sql::protocol::auth::{Plugin, Salt, answer};
use resprout_sql::protocol::flags::Capabilities;
use resprout_sql::protocol::handshake::{Answer, Login, OFFERED, encode_login};
use resprout_sql::protocol::packet::{Inbound, Outbound};
use resprout_sql::protocol::wire::Reader;
use resprout_sql::server::{Connections, Ended, Options, Server, Tls};
use rustls::pki_types::{CertificateDer, ServerName};
use service::Constant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<Connections>,
    pub(crate) denied: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Ended>,
}

impl Running {
    /// Tells it to end, and waits.
    pub(crate) async fn end(mut self) -> Ended {
        drop(self.stop.take());
        self.task.await.expect("the server does not panic")
    }
}

pub(crate) async fn start(options: Options) -> Running {
    start_with(options, None).await
}

pub(crate) async fn start_with(options: Options, tls: Option<Tls>) -> Running {
    let connections = Connections::new();
    let service = Constant::new(connections.clone());
    let denied = service.denied.clone();
    let server = Server::new(service, options, tls, connections.clone()).expect("sound options");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        server
            .serve(listener, async {
                let _told_or_dropped = stopped.await;
            })
            .await
    });
    Running { address, connections, denied, stop: Some(stop), task }
}

/// A client that sends what it is told.
pub(crate) struct Raw<S> {
    pub(crate) stream: S,
    inbound: Inbound,
    pub(crate) salt: Salt,
    pub(crate) capabilities: Capabilities,
}

impl Raw<TcpStream> {
    /// Connects and reads the greeting.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut raw = Self {
            stream,
            inbound: Inbound::new(1 << 30),
            salt: Salt([0; 20]),
            capabilities: OFFERED.without(Capabilities::COMPRESS) | Capabilities::LOCAL_FILES,
        };
        let greeting = raw.receive().await.expect("a greeting");
        if greeting[0] != 0xFF {
            raw.salt = salt_of(&greeting);
        }
        raw
    }

    /// Connects and logs in without a password.
    pub(crate) async fn root(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        assert_eq!(raw.log_in("root", "").await[0], 0);
        raw
    }

    /// Gives the socket away, for TLS to be put upon it.
    pub(crate) fn split(self) -> (TcpStream, impl FnOnce(ClientTls) -> Raw<ClientTls>) {
        let Self { stream, inbound, salt, capabilities } = self;
        (stream, move |stream| Raw { stream, inbound, salt, capabilities })
    }
}

/// A client's stream over TLS.
pub(crate) type ClientTls = tokio_rustls::client::TlsStream<TcpStream>;

fn salt_of(greeting: &[u8]) -> Salt {
    let mut reader = Reader::new(&greeting[1..]);
    reader.until_zero().expect("a version");
    let rest = reader.rest();
    Salt([&rest[4..12], &rest[31..43]].concat().try_into().expect("20 bytes"))
}

/// A certificate for `localhost`, for a server and for those who trust it.
pub(crate) fn certificate() -> (Tls, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let certificate = made.cert.der().clone();
    (Tls::new(vec![certificate.clone()], key).expect("they belong together"), certificate)
}

/// Connects to servers that have this certificate.
pub(crate) fn connector(certificate: CertificateDer<'static>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Asks for TLS, and for nothing behind it.
pub(crate) fn tls_request(raw: &Raw<TcpStream>) -> Vec<u8> {
    let capabilities = raw.capabilities | Capabilities::SSL;
    [&[32, 0, 0, 1][..], &capabilities.0.to_le_bytes(), &[0, 0, 0, 1, 45], &[0; 23]].concat()
}

impl Raw<ClientTls> {
    /// Connects and encrypts.
    pub(crate) async fn over_tls(address: SocketAddr, connector: &TlsConnector) -> Self {
        let mut clear = Raw::connect(address).await;
        let request = tls_request(&clear);
        clear.send(&request[4..]).await;
        let (socket, with) = clear.split();
        let name = ServerName::try_from("localhost").expect("a name");
        with(connector.connect(name, socket).await.expect("TLS"))
    }

    /// Logs in by `caching_sha2_password` and sends the password itself if it is asked for. Gives
    /// the number of the error, 0 for none, and whether it was asked for.
    pub(crate) async fn log_in_fully(&mut self, user: &str, password: &str) -> (u16, bool) {
        let mut answer = self.log_in(user, password).await;
        let asked = answer[..] == [1, 4];
        if asked {
            self.send(format!("{password}\0").as_bytes()).await;
            answer = self.receive().await.expect("an answer");
        }
        (if answer[0] == 0 { 0 } else { code(&answer) }, asked)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Sends bytes as they are. The server may be gone.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Sends a packet that goes on with the exchange.
    pub(crate) async fn send(&mut self, payload: &[u8]) {
        let mut out = Outbound::default();
        out.expect(self.inbound.number());
        out.packet(|buffer| buffer.extend_from_slice(payload));
        self.inbound.expect(out.number());
        assert!(self.send_bytes(out.bytes()).await, "the server takes it");
    }

    /// Sends a command.
    pub(crate) async fn command(&mut self, payload: &[u8]) {
        self.inbound.expect(0);
        self.send(payload).await;
    }

    /// The next packet; none if the server has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Bytes> {
        loop {
            if let Some(payload) = self.inbound.next_packet().expect("packets in order") {
                return Some(payload);
            }
            let read = self.stream.read_buf(self.inbound.buffer()).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// Takes the next packet's number as it comes: what the server says on its own account.
    pub(crate) async fn receive_any(&mut self) -> Option<Bytes> {
        while self.inbound.buffer().len() < 4 {
            let read = self.stream.read_buf(self.inbound.buffer()).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
        let number = self.inbound.buffer()[3];
        self.inbound.expect(number);
        self.receive().await
    }

    /// Sends a command and gives the first packet of its answer.
    pub(crate) async fn ask(&mut self, payload: &[u8]) -> Bytes {
        self.command(payload).await;
        self.receive().await.expect("an answer")
    }

    /// Sends a login, by `caching_sha2_password`, and gives the last packet of its answer.
    pub(crate) async fn log_in(&mut self, user: &str, password: &str) -> Bytes {
        self.send_login(user, Plugin::Sha2, password).await;
        loop {
            let packet = self.receive().await.expect("an answer");
            if packet[..] != [1, 3] {
                return packet;
            }
        }
    }

    /// Sends a login.
    pub(crate) async fn send_login(&mut self, user: &str, plugin: Plugin, password: &str) {
        let payload = self.login_payload(user, plugin, password);
        self.send(&payload).await;
    }

    pub(crate) fn login_payload(&self, user: &str, plugin: Plugin, password: &str) -> BytesMut {
        let login = Login {
            user: user.into(),
            collation: 45,
            capabilities: self.capabilities,
            ..Login::default()
        };
        let bytes = answer(plugin, password, &self.salt);
        let mut payload = BytesMut::new();
        encode_login(&login, &Answer { plugin: plugin.name().into(), bytes }, &mut payload);
        payload
    }
}

/// The number of an error.
pub(crate) fn code(packet: &[u8]) -> u16 {
    assert_eq!(packet[0], 0xFF, "an error: {packet:?}");
    u16::from_le_bytes([packet[1], packet[2]])
}
