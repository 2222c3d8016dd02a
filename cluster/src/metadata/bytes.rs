//! Fields as bytes, little-endian. What comes in may be hostile: each length is checked against what is there
//! before anything is reserved, maps are in strict order (so that one state has one encoding), and nothing may
//! be left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use resprout_replication::{CopyRecord, CopyState, Request};
use thiserror::Error;

use crate::{
    Address, Cfg, Copy, Following, Group, Incarnation, Instance, LeafId, NodeId, Ordinal,
    Partition, Stamp, Term,
};

/// What is wrong with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// They end too early.
    #[error("{have} bytes where {need} are needed")]
    Short {
        /// How many there must be.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// They go on where they should end.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// Another version.
    #[error("version {found}, this program speaks {expected}")]
    Version {
        /// What they say.
        found: u16,
        /// What is understood.
        expected: u16,
    },
    /// A value that its field cannot have.
    #[error("{what} cannot be {found}")]
    Value {
        /// Of which type.
        what: &'static str,
        /// What is there.
        found: u64,
    },
    /// Names that are not in their order, or twice.
    #[error("what should be in order is not")]
    Order,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Text,
}

/// What is left of bytes, and the version that they are of.
pub(crate) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) version: u16,
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, need: usize) -> Result<&'a [u8], CodecError> {
        let have = self.bytes.len();
        let (bytes, rest) =
            self.bytes.split_at_checked(need).ok_or(CodecError::Short { need, have })?;
        self.bytes = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// How many things follow: no more than there are bytes.
    fn count(&mut self) -> Result<usize, CodecError> {
        let (count, have) = (u32::take(self)? as usize, self.bytes.len());
        if count > have { Err(CodecError::Short { need: count, have }) } else { Ok(count) }
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), CodecError> {
        let left = self.bytes.len();
        if left == 0 { Ok(()) } else { Err(CodecError::Trailing(left)) }
    }
}

/// A field: at least one byte.
pub(crate) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError>;
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    // What is proposed is bounded far below that.
    u32::try_from(count).unwrap_or(u32::MAX).put(out);
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
                Ok(Self::from_le_bytes(from.array()?))
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, u128);

/// Structs, field by field in the order that is given.
macro_rules! fields {
    ($($type:ident { $($field:tt),* $(,)? })*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
                $(let $field = Field::take(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

/// Numbers with a name.
macro_rules! names {
    ($($type:ident),*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
                Ok(Self(Field::take(from)?))
            }
        }
    )*};
}

/// Enums: a byte for the variant, then its fields. What older versions wrote otherwise has bytes of its own.
macro_rules! variants {
    (
        $type:ident { $($tag:literal => $variant:ident $({ $($field:ident),* $(,)? })?),* $(,)? }
        $(older { $($old:literal => $take:path),* })?
    ) => {
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        out.push($tag);
                        $($($field.put(out);)*)?
                    })*
                }
            }
            fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
                match u8::take(from)? {
                    $($tag => {
                        $($(let $field = Field::take(from)?;)*)?
                        Ok(Self::$variant $({ $($field),* })?)
                    })*
                    $($($old => $take(from),)*)?
                    found => Err(CodecError::Value { what: stringify!($type), found: found.into() }),
                }
            }
        }
    };
}

pub(crate) use {fields, variants};

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(CodecError::Value { what: "yes or no", found: found.into() }),
        }
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let count = from.count()?;
        let text = std::str::from_utf8(from.bytes(count)?).map_err(|_| CodecError::Text)?;
        Ok(text.to_owned())
    }
}

/// Bytes that mean nothing here.
impl Field for Box<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        out.extend_from_slice(self);
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let count = from.count()?;
        Ok(from.bytes(count)?.into())
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        self.iter().for_each(|one| one.put(out));
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        // Grown as they come: a count that lies reserves nothing.
        let mut all = Self::new();
        for _ in 0..from.count()? {
            all.push(T::take(from)?);
        }
        Ok(all)
    }
}

impl<T: Field> Field for VecDeque<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        self.iter().for_each(|one| one.put(out));
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(Vec::take(from)?.into())
    }
}

impl<K: Field + Ord, V: Field> Field for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let mut all = Self::new();
        for _ in 0..from.count()? {
            let key = K::take(from)?;
            if all.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(CodecError::Order);
            }
            all.insert(key, V::take(from)?);
        }
        Ok(all)
    }
}

impl<T: Field + Ord> Field for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        self.iter().for_each(|one| one.put(out));
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let mut all = Self::new();
        for _ in 0..from.count()? {
            let one = T::take(from)?;
            if all.last().is_some_and(|last| *last >= one) {
                return Err(CodecError::Order);
            }
            all.insert(one);
        }
        Ok(all)
    }
}

/// A partition; `bytes` is measured and not part of the metadata.
impl Field for Partition {
    fn put(&self, out: &mut Vec<u8>) {
        self.ordinal.put(out);
        self.master.put(out);
        self.term.put(out);
        self.cfg.put(out);
        self.stamp.put(out);
        self.former.put(out);
        self.attached.put(out);
        self.unaligned.put(out);
        self.copies.put(out);
    }

    fn take(from: &mut Cursor<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            ordinal: Field::take(from)?,
            master: Field::take(from)?,
            term: Field::take(from)?,
            cfg: Field::take(from)?,
            stamp: Field::take(from)?,
            former: Field::take(from)?,
            attached: Field::take(from)?,
            unaligned: Field::take(from)?,
            copies: Field::take(from)?,
            bytes: 0,
        })
    }
}

names!(LeafId, NodeId, Ordinal, Instance, Incarnation, Cfg, Term);

fields! {
    Address { host, port }
    Stamp { term, index }
    Copy { instance, following, offline, incarnation }
    CopyRecord { state, incarnation }
    Request { term, cfg, instance, to }
}

variants!(Following { 0 => Async, 1 => Ready, 2 => Sync });
variants!(Group { 1 => One, 2 => Two });
variants!(CopyState { 0 => Offline, 1 => Async, 2 => Ready, 3 => Sync });
