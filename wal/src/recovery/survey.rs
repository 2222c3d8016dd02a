//! What lies in an arena: every slot's head, read once, and the chains of slots they form.
//!
//! ```text
//!  heads ──group by identity──► slots of one log, by base
//!        ──follow links──► chain: first ─link─► … ─link─► last     + leftovers
//! ```
//!
//! Reading changes nothing. A log whose slots do not fit together gets a [`Damage`] of its own;
//! the others are not affected (catalogue rows D06 to D11).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::arena::{Geometry, HEAD_BYTES, HeadFlaw, Mark, MarkKind, SlotHeader};
use crate::disk::{AlignedBuf, Disk, File, FileRef, Request};
use crate::{Damage, LogIdentity, Lsn, Range, SECTOR};

/// Times a failed read is tried again (catalogue row D25).
const READ_RETRIES: usize = 3;
/// What is read of each slot: the head and the first sector of frames.
const LOOK_BYTES: usize = HEAD_BYTES as usize + SECTOR;
/// Slots looked at together.
const LOOKS_AHEAD: u32 = 32;

/// A slot with a good header.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) index: u32,
    pub(crate) header: SlotHeader,
    /// The newest good mark.
    pub(crate) mark: Option<Mark>,
    /// A mark sector holds something that is no mark of this use of the slot.
    pub(crate) mark_flawed: bool,
}

impl Found {
    /// Everything below was durable, says the newest mark.
    pub(crate) fn durable(&self) -> Lsn {
        self.mark.map_or(Lsn::ZERO, |mark| mark.durable)
    }

    pub(crate) fn kind(&self) -> MarkKind {
        self.mark.map_or(MarkKind::Running, |mark| mark.kind)
    }
}

/// A slot whose head cannot be used.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The slot.
    pub slot: u32,
    /// Byte position of its head.
    pub offset: u64,
    /// Why.
    pub why: UnreadableWhy,
}

/// Why a slot's head cannot be used. Such a slot is neither read nor given out.
#[derive(Clone, Debug)]
pub enum UnreadableWhy {
    /// Its header is bad although it has frames (catalogue row D06).
    Header(HeadFlaw),
    /// The device cannot read it (D25).
    Io(Arc<io::Error>),
    /// It belongs to a log of another cluster (D11).
    Foreign(LogIdentity),
}

/// The slots of one log.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// In order of the links.
    pub(crate) slots: Vec<Found>,
    /// Further slots of the log: of an interrupted change of slots or cut. To be erased.
    pub(crate) leftovers: Vec<Found>,
    /// They do not fit together.
    pub(crate) damage: Option<Damage>,
}

/// Everything found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) path: PathBuf,
    pub(crate) slots: u32,
    pub(crate) free: BTreeSet<u32>,
    pub(crate) logs: BTreeMap<LogIdentity, Chain>,
    pub(crate) unreadable: Vec<Unreadable>,
}

enum Slot {
    Free,
    Found(Found),
    Unreadable(UnreadableWhy),
}

/// Reads all heads.
pub(crate) fn survey(
    disk: &dyn Disk,
    file: &FileRef,
    geometry: Geometry,
    cluster: u128,
) -> io::Result<Survey> {
    let file_bytes = file.len()?;
    let mut survey = Survey {
        path: file.path().to_owned(),
        slots: geometry.slots_whole(file_bytes),
        free: BTreeSet::new(),
        logs: BTreeMap::new(),
        unreadable: Vec::new(),
    };
    let mut found: BTreeMap<LogIdentity, Vec<Found>> = BTreeMap::new();
    let looked = look_at_all(disk, file, geometry, geometry.slots_touched(file_bytes))?;
    for (slot, what) in (0..).zip(looked) {
        let offset = geometry.slot_offset(slot);
        let why = match what {
            Slot::Free => {
                if slot < survey.slots {
                    survey.free.insert(slot);
                }
                continue;
            }
            Slot::Found(one) if one.header.identity.cluster == cluster => {
                found.entry(one.header.identity).or_default().push(one);
                continue;
            }
            Slot::Found(one) => UnreadableWhy::Foreign(one.header.identity),
            Slot::Unreadable(why) => why,
        };
        survey.unreadable.push(Unreadable { slot, offset, why });
    }
    for (identity, slots) in found {
        // A slot is whole on the medium before it is used, so the file was cut since (D07).
        let cut = slots.iter().any(|slot| slot.index >= survey.slots);
        let mut chain = chain(&survey.path, identity, slots);
        if cut {
            let error = Arc::new(io::ErrorKind::UnexpectedEof.into());
            let path = survey.path.clone();
            chain.damage.get_or_insert(Damage::Read { path, offset: file_bytes, error });
        }
        survey.logs.insert(identity, chain);
    }
    Ok(survey)
}

/// Fills `buf` from `offset`, with zeros beyond the end of the file; tries again on an error.
pub(crate) fn read_patiently(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut tries = 0;
    loop {
        match file.read_at(buf, offset) {
            Ok(len) => {
                buf[len..].fill(0);
                return Ok(len);
            }
            Err(error) if tries == READ_RETRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

/// Looks at the first slots, many at a time: an arena has one for each 16 MiB of log, and a node
/// cannot begin to come back before it has seen all of them.
fn look_at_all(
    disk: &dyn Disk,
    file: &FileRef,
    geometry: Geometry,
    count: u32,
) -> io::Result<Vec<Slot>> {
    let mut queue = disk.local_queue(LOOKS_AHEAD)?;
    let mut spare = Vec::new();
    for _ in 0..count.min(LOOKS_AHEAD) {
        spare.push(AlignedBuf::new(LOOK_BYTES)?.into_io());
    }
    let mut looked: Vec<Slot> = (0..count).map(|_| Slot::Free).collect();
    let mut asked = 0..count;
    let mut completions = Vec::new();
    while !asked.is_empty() || queue.in_flight() > 0 {
        while let Some(buf) = spare.pop_if(|_| !asked.is_empty()) {
            let Some(slot) = asked.next() else { break };
            let (file, offset) = (file.clone(), geometry.slot_offset(slot));
            queue.push(u64::from(slot), Request::Read { file, offset, buf });
        }
        queue.wait(1, &mut completions)?;
        for completion in completions.drain(..) {
            let slot = u32::try_from(completion.token).expect("the number of a slot");
            let mut buf = completion.buf.expect("a read gives its buffer back");
            let bytes = buf.as_mut_slice();
            let read = match completion.result {
                Ok(len) => {
                    bytes[len..].fill(0);
                    Ok(len)
                }
                Err(_) => read_patiently(&**file, bytes, geometry.slot_offset(slot)),
            };
            looked[slot as usize] = match read {
                Ok(_) => look(bytes, slot),
                Err(error) => Slot::Unreadable(UnreadableWhy::Io(Arc::new(error))),
            };
            spare.push(buf);
        }
    }
    Ok(looked)
}

fn look(bytes: &[u8], index: u32) -> Slot {
    let sector = |at: usize| {
        let bytes = bytes[at * SECTOR..].first_chunk::<SECTOR>();
        bytes.expect("the look covers the head and one frame sector")
    };
    if sector(0).iter().all(|byte| *byte == 0) {
        return Slot::Free;
    }
    match SlotHeader::decode(sector(0)) {
        Ok(header) => {
            let marks = [sector(1), sector(2)].map(|bytes| read_mark(bytes, header.nonce));
            let mark = marks.iter().filter_map(|(mark, _)| *mark).max_by_key(|mark| mark.sequence);
            let mark_flawed = marks.iter().any(|(_, flawed)| *flawed);
            Slot::Found(Found { index, header, mark, mark_flawed })
        }
        // A header is written together with zeros over the first frame's place and is durable
        // before any frame is: so this one was torn while being written, and holds nothing.
        Err(_) if sector(3).iter().all(|byte| *byte == 0) => Slot::Free,
        Err(flaw) => Slot::Unreadable(UnreadableWhy::Header(flaw)),
    }
}

fn read_mark(bytes: &[u8; SECTOR], nonce: u64) -> (Option<Mark>, bool) {
    match Mark::decode(bytes, nonce) {
        Ok(mark) => (Some(mark), false),
        Err(HeadFlaw::Stale) => (None, false),
        Err(_) => (None, bytes.iter().any(|byte| *byte != 0)),
    }
}

/// Follows the links through the slots of one log.
fn chain(path: &Path, identity: LogIdentity, mut slots: Vec<Found>) -> Chain {
    slots.sort_by_key(|slot| (slot.header.base, slot.index));
    let by_index: BTreeMap<u32, Found> =
        slots.iter().map(|slot| (slot.index, slot.clone())).collect();
    let mut chain = Chain { slots: Vec::new(), leftovers: Vec::new(), damage: None };
    let mut used = BTreeSet::new();
    let mut next = slots.first().cloned();
    while let Some(slot) = next.take() {
        used.insert(slot.index);
        if let MarkKind::Linked(link) = slot.kind() {
            let target = by_index.get(&link.index).filter(|target| {
                target.header.nonce == link.nonce && target.header.base == link.end
            });
            match target {
                Some(target) if !used.contains(&target.index) => next = Some(target.clone()),
                _ => chain.damage = Some(missing(path, identity, &slots, link.end)),
            }
        }
        chain.slots.push(slot);
    }
    let last = chain.slots.last().expect("a log is found by at least one slot");
    let (last_index, last_base) = (last.index, last.header.base);
    let was_cut = last.kind() == MarkKind::Cut;
    for slot in slots.iter().filter(|slot| !used.contains(&slot.index)) {
        let lsn = slot.header.base;
        if lsn <= last_base && !was_cut && chain.damage.is_none() {
            let first = holder(&chain.slots, lsn).unwrap_or(last_index);
            let (path, second) = (path.to_owned(), slot.index);
            chain.damage = Some(Damage::Overlap { path, identity, first, second, lsn });
        }
        chain.leftovers.push(slot.clone());
    }
    chain
}

/// The slot of the chain that holds `lsn`.
fn holder(slots: &[Found], lsn: Lsn) -> Option<u32> {
    let next = slots.partition_point(|slot| slot.header.base <= lsn);
    slots.get(next.checked_sub(1)?).map(|slot| slot.index)
}

/// The log should go on at `from`, and there is no slot that does.
fn missing(path: &Path, identity: LogIdentity, slots: &[Found], from: Lsn) -> Damage {
    let present = slots.iter().map(|slot| Range {
        start: slot.header.base,
        end: match slot.kind() {
            MarkKind::Linked(link) => Some(link.end),
            _ => None,
        },
    });
    let end = slots.iter().map(|slot| slot.header.base).find(|base| *base > from);
    Damage::Missing {
        path: path.to_owned(),
        identity,
        present: present.collect(),
        missing: vec![Range { start: from, end }],
    }
}
