//! Messages that no member would send.

use bytes::Bytes;
use resprout_consensus::{
    AppendResult, Envelope, Index, Membership, Message, NodeId, ReadId, Refusal, Round,
    SnapshotMeta, StoreId, Term,
};

use crate::commands::{entry, entry_id, number};
use crate::world::World;

/// A message as its words say: a kind, then `name=value`.
pub(crate) fn forge(
    world: &World,
    (from, to): (NodeId, NodeId),
    term: Term,
    words: &[&str],
) -> Envelope {
    let (kind, values) = words.split_first().expect("a kind");
    let value = |name: &str| {
        let pairs = values.iter().filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    let count = |name| value(name).map_or(0, number);
    let id = |name| value(name).map(entry_id).unwrap_or_default();
    let message = match *kind {
        "append" => {
            let ids = value("entries").into_iter().flat_map(|ids| ids.split(','));
            let entries = ids.map(|id| entry(entry_id(id))).collect();
            let (previous, commit) = (id("prev"), Index(count("commit")));
            Message::Append { previous, entries, commit, round: Round(count("round")) }
        }
        "matched" => Message::AppendAnswer {
            round: Round(count("round")),
            result: AppendResult::Matched(Index(count("index"))),
        },
        "vote" => Message::Vote { last: id("last"), transfer: value("transfer").is_some() },
        "prevote" => Message::PreVote { last: id("last") },
        "snapshot" => Message::Snapshot {
            meta: SnapshotMeta {
                last: id("last"),
                membership: Membership::default(),
                membership_index: Index(count("members")),
                bytes: count("bytes"),
                crc: count("crc") as u32,
            },
            offset: count("offset"),
            data: Bytes::from(vec![b'x'; count("data") as usize]),
            round: Round(count("round")),
        },
        "readanswer" => Message::ReadAnswer {
            ids: vec![ReadId(count("ids"))],
            boot: count("boot"),
            index: Index(count("index")),
        },
        "removed" => {
            Message::Refuse { why: Refusal::Removed { membership: Index(count("members")) } }
        }
        _ => panic!("no such message: {kind}"),
    };
    let store = |node| world.nodes.get(&node).map_or(StoreId(0), |node| node.identity.store);
    let from_store = value("store").map_or(store(from), |store| StoreId(number(store)));
    let to_store = value("for").map_or(store(to), |store| StoreId(number(store)));
    Envelope { from, from_store, to, to_store, term, message }
}
