//! Where a replica goes on: from its end, from where the histories part, or from pages (rule 16).

use resprout_wal::Lsn;

use super::member::{Stream, StreamPhase};
use super::{Master, NUMBER_MAX, Phase};
use crate::{Alarm, Hello, Identity, Instance, Lookup, Message, Start, StreamId, last_common};

impl Master {
    /// A replica comes. Its stream begins with nothing acknowledged.
    pub(super) fn take_hello(&mut self, from: Identity, id: StreamId, hello: Hello) {
        if hello.end.0 > NUMBER_MAX {
            self.out.alarms.push(Alarm::Unsound(from.instance));
            return;
        }
        let Some(member) = self.members.get_mut(&from.instance) else {
            self.mark("a copy that is not in the record");
            return;
        };
        if id <= member.newest || id.run != from.incarnation {
            self.mark("an older hello");
            return;
        }
        let replica = from.instance;
        member.newest = id;
        member.heard = self.now;
        let is_other_run = from.incarnation != member.counted;
        let mut stream = Stream::new(id, hello, self.now);
        stream.allowance = self.pace.bytes_per_beat;
        let wants_pages = stream.hello.wants_pages;
        member.stream = Some(stream);
        if is_other_run {
            self.run_changed(replica);
        }
        if wants_pages { self.provide(replica) } else { self.locate(replica) }
    }

    /// Finds the last position that both logs have, and its chain.
    fn locate(&mut self, replica: Instance) {
        let Some(stream) = self.stream_mut(replica) else { return };
        let hello = stream.hello.clone();
        let own = (self.tail.history(), self.tail.end());
        let at = match last_common((&hello.lineage.history, hello.end), own) {
            _ if planted!(self.config, KeepDivergedTail) && hello.end <= self.tail.end() => {
                hello.end
            }
            Some(at) if at >= self.first => at,
            _ => {
                self.mark("nothing in common, or not kept");
                self.provide(replica);
                return;
            }
        };
        if let Some(stream) = self.stream_mut(replica) {
            stream.phase = StreamPhase::Locating(at);
        }
        let near =
            if at == self.tail.end() { Some(self.tail.chain()) } else { self.recent.chain_at(at) };
        match near {
            Some(chain) => self.located(replica, at, chain),
            None => self.out.lookups.push(Lookup(at)),
        }
    }

    pub(super) fn take_chain(&mut self, at: Lsn, chain: Option<u64>) {
        let waiting = self.members.iter().filter(|(_, member)| {
            let phase = member.stream.as_ref().map(|stream| stream.phase);
            phase == Some(StreamPhase::Locating(at))
        });
        for replica in waiting.map(|(replica, _)| *replica).collect::<Vec<_>>() {
            match chain {
                Some(chain) => self.located(replica, at, chain),
                None => self.provide(replica),
            }
        }
    }

    /// Answers, now that the chain at the common position is known.
    fn located(&mut self, replica: Instance, at: Lsn, chain: u64) {
        let keep = planted!(self.config, KeepDivergedTail);
        let Some(stream) = self.stream_mut(replica) else { return };
        let (id, hello_end) = (stream.id, stream.hello.end);
        let theirs = stream.hello.lineage.chain;
        if at < hello_end {
            stream.phase = StreamPhase::Truncating;
            self.mark("histories part below the replica's end");
            self.send(replica, id, Message::Welcome(Start::Truncate { to: at, chain }));
        } else if theirs == chain || keep {
            stream.phase = StreamPhase::Streaming;
            stream.next = at;
            self.mark("a replica goes on from its end");
            self.send(replica, id, Message::Welcome(Start::Continue { from: at }));
        } else {
            // Histories agree and contents do not: a log is not what was written to it.
            self.out.alarms.push(Alarm::Differs { replica, at });
            self.mark("chains differ where histories agree");
            self.provide(replica);
        }
    }

    pub(super) fn stream_mut(&mut self, replica: Instance) -> Option<&mut Stream> {
        self.members.get_mut(&replica)?.stream.as_mut()
    }

    /// Whether images are given: a root behind everything that any copy may know acknowledged.
    pub(super) fn may_provide(&self) -> bool {
        self.phase == Phase::Online
    }
}
