//! Sockets as connections need them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

/// What the system keeps of what was written and not acknowledged. It would grow to megabytes by
/// itself, and an acknowledgement would wait behind all of it; this is enough for 1 GB/s at
/// 0.5 ms.
const SEND_BUFFER_BYTES: u32 = 512 << 10;
/// Connections that wait to be taken.
const BACKLOG: u32 = 256;

/// Connects to the first address of a name (`host:port`) that answers, from `source` if that is said.
///
/// # Errors
/// Those of the system, of the last address.
pub async fn connect(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    for address in lookup_host(address).await? {
        match connect_to(address, source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = open(address)?;
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// Listens on the first address of a name that can be listened on.
pub(super) async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(io::Error::new(last.kind(), format!("cannot listen on {address}: {last}")))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    // Connections that are taken inherit the size of the buffer.
    let socket = open(address)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn open(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    Ok(socket)
}
