//! Stands between two nodes: passes bytes on, records them, cuts, and keeps silent.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Nothing is passed on, nor that a side has closed.
    Swallow,
    /// Connections end after so many bytes towards the one that listens.
    CutAfter(usize),
    /// One bit of this byte towards the one that listens is another.
    FlipAt(usize),
}

pub(crate) struct Proxy {
    pub(crate) address: String,
    mode: watch::Sender<Mode>,
    /// Of each connection: what the one that connected has said.
    said: Arc<Mutex<Vec<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// In front of that address.
    pub(crate) async fn new(target: String, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, changes) = watch::channel(mode);
        let said: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let recorded = said.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(&target).await.unwrap();
                recorded.lock().unwrap().push(Vec::new());
                let place = recorded.lock().unwrap().len() - 1;
                let record = (recorded.clone(), place);
                connections.spawn(pass(near, far, changes.clone(), record));
            }
        });
        Self { address, mode, said, _tasks: tasks }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send(mode).unwrap();
    }

    /// What was said on a connection by the one that connected.
    pub(crate) fn said(&self, connection: usize) -> Vec<u8> {
        self.said.lock().unwrap()[connection].clone()
    }
}

async fn pass(
    mut near: TcpStream,
    mut far: TcpStream,
    mode: watch::Receiver<Mode>,
    (said, place): (Arc<Mutex<Vec<Vec<u8>>>>, usize),
) {
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    let mut passed = 0;
    loop {
        let (is_there, count) = tokio::select! {
            count = near.read(&mut there) => (true, count),
            count = far.read(&mut back) => (false, count),
        };
        let mode = *mode.borrow();
        let Ok(count @ 1..) = count else {
            if mode == Mode::Swallow {
                std::future::pending::<()>().await;
            }
            return;
        };
        if mode == Mode::Swallow {
            continue;
        }
        if !is_there {
            if near.write_all(&back[..count]).await.is_err() {
                return;
            }
            continue;
        }
        said.lock().unwrap()[place].extend_from_slice(&there[..count]);
        let end = passed + count;
        match mode {
            Mode::CutAfter(bytes) if end > bytes => {
                let _gone = far.write_all(&there[..bytes.saturating_sub(passed)]).await;
                return;
            }
            Mode::FlipAt(at) if (passed..end).contains(&at) => there[at - passed] ^= 4,
            _ => {}
        }
        passed = end;
        if far.write_all(&there[..count]).await.is_err() {
            return;
        }
    }
}
