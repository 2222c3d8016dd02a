//! Peers that do not keep up.

use std::sync::{Arc, Condvar, Mutex};

use resprout_replication::Envelope;
use resprout_replication::transport::{Deliver, NodeId, Transport};
use tokio::sync::mpsc;

use crate::node::{Node, ack, addresses, frames, local, number, options, secret};

/// Takes nothing until it is opened.
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    taken: mpsc::UnboundedSender<Envelope>,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Deliver for Gate {
    fn deliver(&self, _from: NodeId, envelope: Envelope) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        let _gone = self.taken.send(envelope);
    }
}

/// Promise: a peer that takes nothing costs a bounded queue, what does not fit is counted, and another
/// peer notices nothing; when it takes again, what is small of another partition comes before the bulk
/// that waited longer (row N12).
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn n12_a_stuck_peer_costs_a_bounded_queue_and_bulk_starves_nobody() {
    const PAYLOAD: usize = 512 << 10;
    let mut patient = options(secret());
    patient.silence = std::time::Duration::from_secs(600);
    let bound = patient.queue_bytes_max;
    let mut one = Node::with(patient.clone(), local(1, 1)).await;
    let mut three = Node::new(3).await;
    let stuck = Transport::bind(patient, local(2, 1)).await.unwrap();
    let (taken, mut arrived) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { is_open: Mutex::default(), opened: Condvar::new(), taken });
    stuck.set_peers(&addresses(&[(1, one.address())]));
    stuck.start(gate.clone());
    three.knows(&[(1, one.address())]);
    one.knows(&[(2, stuck.address().to_string()), (3, three.address())]);
    one.connected().await;
    one.connected().await;
    three.connected().await;
    let bulk = |number| frames(1, number, PAYLOAD);
    for number in 0..400 {
        one.transport.send(NodeId(2), &bulk(number));
    }
    let status = one.status();
    assert!(status.queued_bytes < bound / 2 && status.dropped > 200, "{status:?}");
    one.transport.send(NodeId(2), &ack(9, 7));
    let waiting = one.status().queued as u64;
    assert_eq!(one.status().dropped, status.dropped, "there is room for what is small");
    one.transport.send(NodeId(3), &ack(9, 8));
    assert_eq!(three.message().await, ack(9, 8));
    gate.open();
    let mut before = 0;
    let mut last = None;
    loop {
        let envelope = arrived.recv().await.unwrap();
        if envelope.from.partition.ordinal == 9 {
            break;
        }
        assert!(last.is_none_or(|last| last < number(&envelope)));
        last = Some(number(&envelope));
        before += 1;
    }
    let sent_before = 400 - status.dropped - waiting + 1;
    assert!(before <= sent_before + 2, "{before}, of which {sent_before} were on their way");
}
