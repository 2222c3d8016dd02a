//! Checking the whole tree against its own rules: for tests, and for an operator in doubt.

use super::leaf;
use super::memory::Range;
use super::versions::NONE;
use super::writer::Tree;

/// What a walk over the whole tree counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Rows.
    pub rows: u64,
    /// Leaf pages in use by the version being written.
    pub pages: u64,
    /// Leaves.
    pub leaves: u64,
    /// Inner nodes.
    pub inner_nodes: u64,
    /// Units of inner nodes.
    pub inner_units: u64,
}

/// What a unit is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Unknown,
    Reached,
    Retired,
    Free,
}

struct Walk<'t> {
    tree: &'t Tree,
    audit: Audit,
    leaves: Vec<Use>,
    inners: Vec<Use>,
}

impl Tree {
    /// Walks over everything and checks it: bytes of pages, order, fences, counts, versions, and that
    /// every unit is exactly one of reached, retired and free.
    ///
    /// # Errors
    /// The first thing found wrong, in words.
    pub fn check(&self) -> Result<Audit, String> {
        let mut walk = Walk {
            tree: self,
            audit: Audit::default(),
            leaves: vec![Use::Unknown; self.units_known(Range::Leaf)],
            inners: vec![Use::Unknown; self.units_known(Range::Inner)],
        };
        if self.root != NONE {
            walk.node(self.root, 0, &[], None)?;
        }
        let audit = walk.audit;
        let counts = (audit.rows, audit.pages);
        if counts != (self.rows, self.nodes.pages()) {
            let told = (self.rows, self.nodes.pages());
            return Err(format!("rows and pages are {counts:?}, the tree says {told:?}"));
        }
        for node in self.nodes.retired() {
            if node.created >= node.retired || node.retired > self.nodes.version() {
                return Err(format!("impossible life of a node: {node:?}"));
            }
            walk.mark(node.range, node.id, node.units, Use::Retired)?;
        }
        for range in [Range::Leaf, Range::Inner] {
            for (start, units) in self.nodes.space(range).free_spans() {
                walk.mark(range, start, units, Use::Free)?;
            }
        }
        walk.all_known()?;
        Ok(audit)
    }
}

impl Walk<'_> {
    fn mark(&mut self, range: Range, start: u32, units: u32, mark: Use) -> Result<(), String> {
        let uses = if range == Range::Leaf { &mut self.leaves } else { &mut self.inners };
        let span = start as usize..start as usize + units as usize;
        let Some(span) = uses.get_mut(span) else {
            return Err(format!("{range:?} {start} was never taken"));
        };
        for (offset, unit) in span.iter_mut().enumerate() {
            if *unit != Use::Unknown {
                return Err(format!("{range:?} unit {start}+{offset} is {unit:?} and {mark:?}"));
            }
            *unit = mark;
        }
        Ok(())
    }

    fn all_known(&self) -> Result<(), String> {
        for (name, uses) in [("leaf", &self.leaves), ("inner", &self.inners)] {
            if let Some(unit) = uses.iter().position(|&unit| unit == Use::Unknown) {
                return Err(format!("{name} unit {unit} is lost"));
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        id: u32,
        level: usize,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<u64, String> {
        if level == self.tree.height {
            return self.leaf(id, low, high);
        }
        let inner = self.tree.nodes.inner(id);
        let units = u32::try_from(inner.units_used()).map_err(|error| error.to_string())?;
        self.mark(Range::Inner, id, units, Use::Reached)?;
        self.audit.inner_nodes += 1;
        self.audit.inner_units += u64::from(units);
        let mut fences = vec![low.to_vec()];
        for index in 1..inner.children() {
            let mut fence = Vec::new();
            inner.separator_into(index, &mut fence);
            if fences[index - 1] >= fence || high.is_some_and(|high| fence.as_slice() >= high) {
                return Err(format!("separator {index} of node {id} is out of order"));
            }
            fences.push(fence);
        }
        for index in 0..inner.children() {
            let next = fences.get(index + 1).map(Vec::as_slice).or(high);
            let newest = self.node(inner.child(index), level + 1, &fences[index], next)?;
            if newest > inner.version() {
                return Err(format!("child {index} of node {id} is newer than the node"));
            }
        }
        Ok(inner.version())
    }

    fn leaf(&mut self, id: u32, low: &[u8], high: Option<&[u8]>) -> Result<u64, String> {
        let bytes = self.tree.reader().leaf_bytes(id);
        let view = leaf::check(bytes).map_err(|damage| format!("leaf {id}: {damage}"))?;
        let run = u32::try_from(bytes.len() / leaf::PAGE_BYTES).map_err(|e| e.to_string())?;
        self.mark(Range::Leaf, id, run, Use::Reached)?;
        self.audit.leaves += 1;
        self.audit.pages += u64::from(run);
        self.audit.rows += view.rows() as u64;
        for row in [0, view.rows() - 1] {
            let ((prefix, suffix), _) = view.row(row);
            let key = [prefix, suffix].concat();
            if key.as_slice() < low || high.is_some_and(|high| key.as_slice() >= high) {
                return Err(format!("row {row} of leaf {id} is outside its fences"));
            }
        }
        Ok(self.tree.nodes.leaf_version(id))
    }
}
