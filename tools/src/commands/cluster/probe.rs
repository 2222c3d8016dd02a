//! What a node says of itself over HTTP, and whether its port for clients is open.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

/// A node of this machine that does not answer by then hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let found = (host, port).to_socket_addrs()?.next();
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether somebody listens there.
///
/// A connection to a free port of the range that outgoing connections take theirs from can get that very
/// port and meet itself: nobody listens then.
pub(super) fn is_open(host: &str, port: u16) -> bool {
    let open = |address| TcpStream::connect_timeout(&address, PATIENCE);
    match resolve(host, port).and_then(open) {
        Ok(stream) => stream.local_addr().ok() != stream.peer_addr().ok(),
        Err(_) => false,
    }
}

/// `/api/status` of a node, if it answers.
pub(super) fn status(host: &str, port: u16) -> Option<Value> {
    let body = get(host, port, "/api/status").ok()?;
    serde_json::from_str(&body).ok()
}

fn get(host: &str, port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&resolve(host, port)?, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Of version 1.0, so that the answer ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Promise: a status is read; whoever says anything else says nothing.
    #[test]
    fn a_status_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert!(is_open("127.0.0.1", port));
        let answers =
            ["HTTP/1.0 200 OK\r\n\r\n{\"state\": \"ONLINE\"}", "HTTP/1.0 404 No\r\n\r\n{}"];
        let serving = std::thread::spawn(move || {
            // The first connection was the question whether it is open.
            let mut incoming = listener.incoming().skip(1);
            for answer in answers {
                let mut stream = incoming.next().expect("endless").expect("connected");
                let mut asked = [0; 512];
                let _read = stream.read(&mut asked).expect("asked");
                stream.write_all(answer.as_bytes()).expect("answered");
            }
        });
        assert_eq!(status("127.0.0.1", port).expect("answered")["state"], "ONLINE");
        assert_eq!(status("127.0.0.1", port), None);
        serving.join().expect("served");
    }

    /// Promise: a port that nobody listens at is not open. The port is held by a connection, so that no
    /// other test of this process can listen there meanwhile.
    #[test]
    fn a_port_without_listener_is_not_open() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let held = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        assert!(!is_open("127.0.0.1", held.local_addr().expect("bound").port()));
    }
}
