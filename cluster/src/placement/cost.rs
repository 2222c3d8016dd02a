//! What a placement costs to reach: copies first, then promotions.

use std::fmt;

/// Work to reach a placement; compared in this order (a copy ships a partition, a promotion pauses it for
/// a moment).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost {
    /// Copies to make.
    pub copies: u32,
    /// Partitions that get another master.
    pub promotions: u32,
}

impl Cost {
    pub(crate) fn new(copies: u32, promotions: u32) -> Self {
        Self { copies, promotions }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self::new(self.copies + other.copies, self.promotions + other.promotions)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copies, {} promotions", self.copies, self.promotions)
    }
}

/// The order of costs as one number for each unit of flow. However many there are of a lesser thing, they
/// never weigh as much as one of the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    copy: i64,
    promotion: i64,
    extra: i64,
    /// For meeting a lower bound: more than anything else, so that it is met if it can be.
    pub(crate) bound: i64,
}

impl Weights {
    /// For so many partitions and bins. With `full` the place of the remainder counts more than promotions.
    pub(crate) fn new(partitions: usize, bins: usize, full: bool) -> Self {
        let [partitions, bins] = [partitions, bins]
            .map(|count| i64::from(u32::try_from(count).expect("counted in 32 bits")) + 1);
        let (promotion, extra) = if full { (1, partitions) } else { (bins, 1) };
        let copy = bins * partitions;
        Self { copy, promotion, extra, bound: 2 * copy * partitions }
    }

    /// The same without a price for copies.
    pub(crate) fn promotions_only(&self) -> Self {
        Self { copy: 0, ..*self }
    }

    pub(crate) fn price(&self, cost: Cost) -> i64 {
        i64::from(cost.copies) * self.copy + i64::from(cost.promotions) * self.promotion
    }

    pub(crate) fn extra(&self, is_dear: bool) -> i64 {
        if is_dear { self.extra } else { 0 }
    }
}
