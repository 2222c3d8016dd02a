//! Reading committed rows with a transaction's own writes laid over them.

use std::ops::ControlFlow;

use crate::error::Error;
use crate::table::KeyRange;
use crate::tree::View;
use crate::write_set::{Wanted, WriteSet};

/// Visits the keys of `range` in order: the view's, changed, joined and hidden by the writes.
pub(crate) fn scan(
    view: &View,
    writes: &WriteSet,
    range: &KeyRange,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let to = range.to.as_deref();
    let mut rows = view.range(&range.from, to);
    let mut own = writes.range(&range.from, to).peekable();
    let (mut key, mut value): (Vec<u8>, &[u8]) = (Vec::new(), &[]);
    let mut more = rows.next();
    loop {
        if more {
            value = rows.row_into(&mut key);
        }
        let wanted = own.next_if(|(own_key, _)| !more || ***own_key <= *key);
        let flow = match wanted {
            Some((own_key, wanted)) => {
                if more && **own_key == *key {
                    more = rows.next();
                }
                visit_own(own_key, wanted, &mut visit)?
            }
            None if more => {
                let flow = visit(&key, value)?;
                more = rows.next();
                flow
            }
            None => return Ok(()),
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

fn visit_own(
    key: &[u8],
    wanted: &Wanted,
    visit: &mut impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error>,
) -> Result<ControlFlow<()>, Error> {
    match &wanted.value {
        Some(value) => visit(key, value),
        None => Ok(ControlFlow::Continue(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OpKind;
    use crate::tree::{MemoryLimit, PageMemory, Tree};

    fn wanted(value: Option<&str>) -> Wanted {
        let kind = if value.is_some() { OpKind::Update } else { OpKind::Delete };
        Wanted { kind, value: value.map(|v| v.as_bytes().to_vec()) }
    }

    /// A transaction sees its own inserts, updates and deletes among the committed rows, in order.
    #[test]
    fn own_writes_are_laid_over_committed_rows() {
        let memory = PageMemory::new(MemoryLimit::new(64 << 20)).expect("address space");
        let mut tree = Tree::new(memory);
        for key in ["b", "d", "f", "h"] {
            tree.put(key.as_bytes(), b"old").expect("memory");
        }
        let root = tree.freeze();
        tree.versions().publish(root);
        let view = tree.versions().acquire();
        let mut writes = WriteSet::default();
        for (key, value) in [("a", Some("1")), ("d", None), ("e", Some("2")), ("f", Some("3"))] {
            writes.set(key.as_bytes().into(), wanted(value));
        }
        let mut seen = String::new();
        let range = KeyRange { from: b"a".to_vec(), to: Some(b"h".to_vec()) };
        scan(&view, &writes, &range, |key, value| {
            seen +=
                &format!("{}={} ", String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            Ok(ControlFlow::Continue(()))
        })
        .expect("nothing fails");
        assert_eq!(seen, "a=1 b=old e=2 f=3 ");
    }
}
