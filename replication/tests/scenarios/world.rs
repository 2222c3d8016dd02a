//! What a scenario plays on: copies with their disks, a network that waits to be told, the record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use resprout_replication::testing::Planted;
use resprout_replication::{
    Config, Decided, Envelope, Event, Identity, ImageHead, Incarnation, Instance, Output, PageWork,
    Partition, PartitionCopy, Promise, Request, Role, Seed, State, Write,
};
use resprout_sim::copy::{Log, digest, pages, values};
use resprout_wal::Lsn;

use crate::show;

const PARTITION: Partition = Partition { cluster: 1, database: 1, ordinal: 0 };

/// What waits for a disk.
#[derive(Clone, Debug)]
enum Op {
    Write(Write),
    Store(u64, Vec<Bytes>),
    Install(ImageHead),
}

/// One copy.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) copy: Option<PartitionCopy>,
    /// The log in memory, and what of it is on the disk.
    pub(crate) log: Log,
    pub(crate) disk: Log,
    promise: Promise,
    pub(crate) incarnation: u64,
    queue: VecDeque<Op>,
    /// Waits to be told to flush.
    pub(crate) slow: bool,
    pub(crate) visible: Lsn,
    pub(crate) state: State,
    images: BTreeMap<u64, Vec<Bytes>>,
    pub(crate) stored: BTreeMap<u64, Bytes>,
    wanted: BTreeMap<u64, u64>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) at: String,
    pub(crate) config: Config,
    pub(crate) planted: Option<Planted>,
    pub(crate) now: Duration,
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) decided: Decided,
    /// The decision before.
    pub(crate) before: Decided,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) network: Vec<Envelope>,
    pub(crate) cuts: BTreeSet<(u64, u64)>,
    pub(crate) quiet: bool,
    /// Messages put aside.
    pub(crate) kept: Vec<Envelope>,
    images: u64,
    output: String,
}

impl World {
    pub(crate) fn say(&mut self, line: impl AsRef<str>) {
        if !self.quiet {
            self.output.push_str(line.as_ref().trim_end());
            self.output.push('\n');
        }
    }

    pub(crate) fn take_output(&mut self) -> String {
        std::mem::take(&mut self.output)
    }

    pub(crate) fn node(&mut self, number: u64) -> &mut Node {
        let at = &self.at;
        self.nodes.get_mut(&number).unwrap_or_else(|| panic!("{at}: no copy n{number}"))
    }

    /// Starts a copy on what its disk has.
    pub(crate) fn start(&mut self, number: u64) {
        let (mut config, now) = (self.config, self.now);
        config.planted = self.planted;
        let node = self.node(number);
        node.incarnation += 1;
        node.disk.recover();
        node.log = node.disk.clone();
        node.queue.clear();
        let identity = Identity {
            partition: PARTITION,
            instance: Instance(number),
            incarnation: Incarnation(node.incarnation),
        };
        let (tail, first, promise) = (node.log.tail(), node.log.first(), node.promise);
        let committed = node.log.known_committed();
        node.visible = committed;
        let seed = Seed { identity, config, promise, tail, committed, first, resumes: None };
        node.copy = Some(PartitionCopy::new(seed, now));
        self.step(number, Event::Tick);
    }

    pub(crate) fn crash(&mut self, number: u64) {
        let node = self.node(number);
        node.copy = None;
        node.queue.clear();
        node.images.clear();
        self.network.retain(|envelope| envelope.from.instance.0 != number);
    }

    pub(crate) fn step(&mut self, number: u64, event: Event) {
        let now = self.now;
        let Some(copy) = &mut self.node(number).copy else { return };
        for output in copy.step(now, event) {
            self.carry_out(number, output);
        }
    }

    fn carry_out(&mut self, number: u64, output: Output) {
        for mark in &output.marks {
            self.say(format!("  mark {mark}"));
        }
        if let Some(state) = output.state {
            self.node(number).state = state;
            self.say(format!("  n{number} is {}", show::state(state)));
        }
        for write in output.writes {
            self.write(number, write);
        }
        for envelope in output.messages {
            self.send(envelope);
        }
        if let Some(lsn) = output.committed {
            self.node(number).visible = lsn;
            self.say(format!("  n{number} shows {}", show::lsn(lsn)));
        }
        for request in output.requests {
            self.say(format!("  n{number} asks: {}", show::request(&request)));
            self.requests.push_back(request);
        }
        if let Some(report) = output.report {
            self.say(format!("  n{number} reports {}", show::report(&report)));
        }
        for alarm in output.alarms {
            self.say(format!("  n{number} alarm: {alarm:?}"));
        }
        for lookup in output.lookups {
            let chain = self.node(number).log.chain_at(lookup.0);
            self.step(number, Event::Chain { at: lookup.0, chain });
        }
        for read in output.reads {
            let frames = self.node(number).log.read(read.from, read.bytes_max);
            self.step(number, Event::Read { read, frames });
        }
        for work in output.pages {
            self.page_work(number, work);
        }
    }

    fn write(&mut self, number: u64, write: Write) {
        self.say(format!("  n{number} writes {}", show::write(&write)));
        match write {
            Write::BeginTerm(term) => {
                let node = self.node(number);
                let frame = node.log.next(term, &[], 0, node.visible);
                self.append(number, vec![frame]);
            }
            Write::Append(frames) => {
                frames.iter().for_each(|frame| self.node(number).log.push(frame.clone()));
                self.queue(number, Op::Write(Write::Append(frames)));
            }
            Write::Cut { to, .. } => {
                self.node(number).log.cut(to);
                self.queue(number, Op::Write(write));
            }
            Write::Promise(_) => self.queue(number, Op::Write(write)),
        }
    }

    /// What a master's engine appends.
    pub(crate) fn append(&mut self, number: u64, frames: Vec<resprout_replication::Frame>) {
        for frame in frames {
            self.node(number).log.push(frame.clone());
            self.queue(number, Op::Write(Write::Append(vec![frame.clone()])));
            self.step(number, Event::Appended(frame));
        }
        self.settle_disk(number);
    }

    fn queue(&mut self, number: u64, op: Op) {
        self.node(number).queue.push_back(op);
    }

    /// A disk that is not slow does what it was told.
    pub(crate) fn settle_disk(&mut self, number: u64) {
        while !self.node(number).slow && self.flush_one(number) {}
    }

    /// A promise reaches its own file, before what the log has to write.
    pub(crate) fn flush_promise(&mut self, number: u64) {
        let queue = &mut self.node(number).queue;
        let place = queue.iter().position(|op| matches!(op, Op::Write(Write::Promise(_))));
        let promise = queue.remove(place.expect("a promise that waits")).expect("it is there");
        queue.push_front(promise);
        self.flush_one(number);
    }

    /// The first operation reaches the disk.
    pub(crate) fn flush_one(&mut self, number: u64) -> bool {
        let node = self.node(number);
        let Some(op) = node.queue.pop_front() else { return false };
        let event = match op {
            Op::Write(Write::Promise(promise)) => {
                node.promise = node.promise.joined(promise);
                Event::Promised(promise)
            }
            Op::Write(Write::Append(frames)) => {
                frames.into_iter().for_each(|frame| node.disk.push(frame));
                Event::Durable(node.disk.end())
            }
            Op::Write(Write::Cut { to, .. }) => {
                node.disk.cut(to);
                Event::Cut { to }
            }
            Op::Write(Write::BeginTerm(_)) => unreachable!("it is an append"),
            Op::Store(image, pages) => {
                node.stored.extend(pages.into_iter().map(|page| (digest(&page), page)));
                Event::Stored { image }
            }
            Op::Install(head) => {
                let own = node.own_pages();
                let digests = (0..head.pages).map(|page| node.wanted.get(&page));
                let found: Vec<_> = digests.filter_map(|digest| own.get(digest?)).collect();
                if (found.len() as u64) < head.pages {
                    self.step(number, Event::Spoiled { image: head.id });
                    return true;
                }
                let rows = found.iter().flat_map(|page| values(page)).collect();
                node.disk = Log::behind(head.lsn, head.lineage, rows);
                node.log = node.disk.clone();
                node.incarnation += 1;
                Event::Installed { image: head.id, incarnation: Incarnation(node.incarnation) }
            }
        };
        self.step(number, event);
        true
    }

    fn page_work(&mut self, number: u64, work: PageWork) {
        self.say(format!("  n{number} pages: {}", show::work(&work)));
        match work {
            PageWork::Hold { replica, plain } => {
                self.images += 1;
                let id = self.images;
                let node = self.node(number);
                let (lsn, pages) = (node.visible, pages(&node.log.rows_at(node.visible)));
                let lineage = node.log.lineage_at(lsn);
                let bytes = pages.iter().map(|page| page.len() as u64).sum();
                let count = pages.len() as u64;
                let head = ImageHead { id, lsn, lineage, pages: count, bytes, plain };
                node.images.insert(id, pages);
                self.step(number, Event::Image { replica, head });
            }
            PageWork::Release { .. } => {}
            PageWork::Digests { image, from, count } => {
                let pages = self.node(number).images[&image].iter();
                let digests = pages.skip(from as usize).take(count as usize);
                let digests = digests.map(|page| digest(page)).collect();
                self.step(number, Event::Digests { image, from, digests });
            }
            PageWork::Read { image, pages } => {
                let all = &self.node(number).images[&image];
                // As many as fit: the rest is read behind them.
                let few = pages.iter().take(2);
                let pages = few.map(|page| (*page, all[*page as usize].clone())).collect();
                self.step(number, Event::Pages { image, pages });
            }
            PageWork::Compare { head, from, digests: _ } if head.plain => {
                let here = &self.node(number).wanted;
                let pages = (from..head.pages).filter(|page| !here.contains_key(page)).collect();
                self.step(number, Event::Differ { image: head.id, until: head.pages, pages });
            }
            PageWork::Compare { head, from, digests } => {
                let node = self.node(number);
                let own: BTreeSet<u64> = node.own_pages().keys().copied().collect();
                let until = from + digests.len() as u64;
                node.wanted.extend((from..).zip(digests.iter().copied()));
                let missing = (from..).zip(digests).filter(|(_, digest)| !own.contains(digest));
                let pages = missing.map(|(page, _)| page).collect();
                self.step(number, Event::Differ { image: head.id, until, pages });
            }
            PageWork::Store { image, pages } => {
                let named = pages.iter().map(|(number, page)| (*number, digest(page)));
                self.node(number).wanted.extend(named);
                let pages = pages.into_iter().map(|(_, page)| page).collect();
                self.queue(number, Op::Store(image, pages));
            }
            PageWork::Install(head) => self.queue(number, Op::Install(head)),
        }
    }

    fn send(&mut self, envelope: Envelope) {
        let link = (envelope.from.instance.0, envelope.to.0);
        let runs = self.nodes.get(&link.1).is_some_and(|node| node.copy.is_some());
        if self.cuts.contains(&link) || !runs {
            self.say(format!("  {}", show::envelope(&envelope, "↛")));
        } else {
            self.say(format!("  {}", show::envelope(&envelope, "→")));
            self.network.push(envelope);
        }
    }

    /// Hands over the message at this place of the network.
    pub(crate) fn deliver(&mut self, place: usize) {
        let envelope = self.network.remove(place);
        let (from, to) = (envelope.from.instance, envelope.to.0);
        if self.node(to).copy.is_some() {
            self.say(format!("n{to} takes {} of n{}", envelope.message.name(), from.0));
            self.step(to, Event::Receive(envelope));
            self.settle_disk(to);
        }
    }

    /// Delivers until nothing is under way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..2000 {
            if self.network.is_empty() {
                return;
            }
            self.deliver(0);
        }
        panic!("{}: messages without end", self.at);
    }

    /// Lets time pass: everybody is woken when it wants to be.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let deadline = |node: &Node| node.copy.as_ref().map(PartitionCopy::deadline);
            let next = self.nodes.iter().filter_map(|(id, node)| Some((deadline(node)?, *id)));
            let Some((at, number)) = next.min().filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.step(number, Event::Tick);
            self.settle_disk(number);
        }
        self.now = until;
    }
}

impl Node {
    fn own_pages(&self) -> BTreeMap<u64, Bytes> {
        let mut own = self.stored.clone();
        let rows = self.log.rows_at(self.log.end());
        own.extend(pages(&rows).into_iter().map(|page| (digest(&page), page)));
        own
    }

    /// The master that it is.
    pub(crate) fn master(&self) -> Option<&resprout_replication::Master> {
        match self.copy.as_ref()?.role() {
            Role::Master(master) => Some(master),
            Role::Replica(_) => None,
        }
    }
}
