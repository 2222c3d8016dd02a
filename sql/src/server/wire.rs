//! A connection's socket with its protocol: bytes in and out, each within its time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use super::interrupt::Reason;
use super::options::{Options, Times, patience};
use super::registry::Entry;
use crate::error::{Code, SqlError};
use crate::protocol::session::{Connection, Fatal};

/// Bytes read at once before the login: thousands of clients may be there that never log in.
const READ_LOGIN: usize = 1 << 10;
/// And after it.
const READ: usize = 16 << 10;
/// Output beyond this is sent before more is made.
pub(super) const WRITE_FROM: usize = 32 << 10;
/// How long to wait for a client to read why it is sent away.
const LINGER: Duration = Duration::from_secs(1);

/// A socket, in the clear or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Lost between the two.
    None,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::None => Poll::Ready(Ok(())),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::None => Poll::Ready(Ok(())),
        }
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    /// The client closed it, or it broke.
    #[error("the client is gone")]
    Client,
    /// The client was too slow.
    #[error("timeout while {0}")]
    Timeout(&'static str),
    /// Somebody ended it.
    #[error("{0:?} was ended")]
    Interrupted(Reason),
    /// The client did not keep to the protocol.
    #[error(transparent)]
    Protocol(#[from] Fatal),
    /// It was refused, and told so.
    #[error("refused")]
    Refused,
}

impl Gone {
    /// For a session that was writing: nobody will read it, but it ends the statement.
    pub(super) fn to_error(&self) -> SqlError {
        SqlError::plain(match self {
            Self::Interrupted(reason) => return reason.error(),
            Self::Timeout(_) => Code::NET_WRITE_INTERRUPTED,
            _ => Code::NET_READ_ERROR,
        })
    }
}

/// A socket and what is said on it.
pub(super) struct Wire {
    pub(super) stream: Stream,
    pub(super) connection: Connection,
    pub(super) entry: Arc<Entry>,
    /// As they are for this session.
    pub(super) options: Arc<Options>,
    /// The server's.
    pub(super) usual: Arc<Options>,
    pub(super) peer: SocketAddr,
    /// Whether the client still sends a file that was asked for.
    pub(super) file_open: bool,
    /// Why nothing can be written any more.
    pub(super) broken: Option<Gone>,
}

impl Wire {
    /// Whether TLS is between it and the client.
    pub(super) const fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The session has these times from now on.
    pub(super) fn set_times(&mut self, times: Times) {
        self.options = Arc::new(self.usual.with_times(times));
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        let bytes = self.connection.to_send();
        if bytes.is_empty() {
            return Ok(());
        }
        let limit = patience(self.options.write_timeout, bytes.len());
        let stream = &mut self.stream;
        let write = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        // Waiting costs a timer, so it is set only if the socket does not take all at once.
        let written = tokio::select! {
            biased;
            written = write => written.map_err(|_| Gone::Client),
            reason = self.entry.interrupt.closing() => Err(Gone::Interrupted(reason)),
            () = sleep(limit) => Err(Gone::Timeout("sending")),
        };
        self.connection.sent();
        written
    }

    /// Reads some bytes before `deadline`.
    pub(super) async fn fill(&mut self, deadline: Instant) -> Result<(), Gone> {
        let step = if self.connection.is_admitted() { READ } else { READ_LOGIN };
        let limit = self.connection.read_limit().max(1) as u64;
        let buffer = self.connection.read_buffer();
        buffer.reserve(step);
        let mut stream = (&mut self.stream).take(limit);
        let read = tokio::select! {
            biased;
            reason = self.entry.interrupt.closing() => Err(Gone::Interrupted(reason)),
            read = stream.read_buf(buffer) => read.map_err(|_| Gone::Client),
            () = tokio::time::sleep_until(deadline) => Err(Gone::Timeout("receiving")),
        };
        if read? == 0 { Err(Gone::Client) } else { Ok(()) }
    }

    /// Returns when the client has closed its end while it waits for an answer. One that has sent
    /// more, or speaks TLS and said good-bye there, is noticed when something is written.
    pub(super) async fn left(&mut self) {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::None => return,
        };
        if let Ok(1..) = stream.peek(&mut [0]).await {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the first bytes of a command.
    pub(super) async fn fill_idle(&mut self) -> Result<(), Gone> {
        let buffer = self.connection.read_buffer();
        buffer.reserve(READ);
        let read = tokio::select! {
            biased;
            reason = self.entry.interrupt.leaving() => Err(Gone::Interrupted(reason)),
            read = self.stream.read_buf(buffer) => read.map_err(|_| Gone::Client),
            () = sleep(self.options.idle_timeout) => Err(Gone::Timeout("idle")),
        };
        if read? == 0 { Err(Gone::Client) } else { Ok(()) }
    }

    /// When what the client began to send at `began` has to be here.
    pub(super) fn read_deadline(&self, began: Instant) -> Instant {
        began + patience(self.options.read_timeout, self.connection.held())
    }

    /// Sends the last words, and `waits` a moment for the client to read them: a socket that is
    /// closed with unread bytes of the client in it takes them back.
    pub(super) async fn close(&mut self, waits: bool) {
        if timeout(LINGER, self.flush_last()).await.is_err() {
            return;
        }
        let _ended_either_way = timeout(LINGER, self.stream.shutdown()).await;
        if !waits {
            return;
        }
        let deadline = Instant::now() + LINGER;
        let mut sink = [0; 4096];
        while let Ok(Ok(1..)) = timeout_at(deadline, self.stream.read(&mut sink)).await {}
    }

    /// Not stopped by an interrupt: it is what tells of it.
    async fn flush_last(&mut self) {
        let bytes = self.connection.to_send();
        let written = self.stream.write_all(bytes).await;
        if written.is_ok() {
            let _the_client_may_be_gone = self.stream.flush().await;
        }
    }
}
