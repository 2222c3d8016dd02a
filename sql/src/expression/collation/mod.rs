//! How text compares: utf8mb4_general_ci, where letters of one base letter are equal whatever
//! their case and accent, or by code point. Both take blanks at the end for nothing (`PAD SPACE`),
//! bytes do not.

mod weights;

use std::cmp::Ordering;

/// The weight of every character beyond the basic plane: they are all equal.
const BEYOND: u16 = 0xFFFD;

/// A rule of comparison for text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collation {
    /// utf8mb4_general_ci: neither case nor accents count.
    #[default]
    GeneralCi,
    /// utf8mb4_bin: by code point.
    Bin,
    /// binary: by bytes; blanks at the end count.
    Binary,
}

impl Collation {
    /// The collation of a name; `None` if there is none. The Unicode collations of MySQL
    /// (`utf8mb4_unicode_ci`, `utf8mb4_0900_ai_ci`) are compared as utf8mb4_general_ci.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let suffix =
            ["utf8mb4_", "utf8mb3_", "utf8_"].iter().find_map(|set| name.strip_prefix(set));
        match suffix {
            Some("bin" | "0900_bin") => Some(Self::Bin),
            Some("general_ci" | "unicode_ci" | "unicode_520_ci" | "0900_ai_ci") => {
                Some(Self::GeneralCi)
            }
            None if name == "binary" => Some(Self::Binary),
            _ => None,
        }
    }

    /// The order of two texts.
    #[must_use]
    pub fn compare(self, left: &str, right: &str) -> Ordering {
        match self {
            Self::GeneralCi => padded(left.chars().map(weight), right.chars().map(weight)),
            // UTF-8 orders as code points do.
            Self::Bin => padded(left.bytes().map(u16::from), right.bytes().map(u16::from)),
            Self::Binary => left.cmp(right),
        }
    }

    /// Whether two texts are equal.
    #[must_use]
    pub fn equal(self, left: &str, right: &str) -> bool {
        left == right || self.compare(left, right) == Ordering::Equal
    }

    /// Appends bytes that are equal for texts that are, and that order as the texts do; but
    /// characters below the blank that follow one count as more than the end of a text.
    pub fn sort_key(self, text: &str, key: &mut Vec<u8>) {
        match self {
            Self::GeneralCi => {
                for character in text.trim_end_matches(' ').chars() {
                    key.extend_from_slice(&weight(character).to_be_bytes());
                }
                key.extend_from_slice(&u16::from(b' ').to_be_bytes());
            }
            Self::Bin => {
                key.extend_from_slice(text.trim_end_matches(' ').as_bytes());
                key.push(b' ');
            }
            Self::Binary => key.extend_from_slice(text.as_bytes()),
        }
    }

    /// What a character counts as where single characters are compared: two are equal if this is.
    #[must_use]
    pub fn key(self, character: char) -> u32 {
        match self {
            Self::GeneralCi => u32::from(weight(character)),
            Self::Bin | Self::Binary => u32::from(character),
        }
    }
}

/// Compares as if the shorter one went on with blanks.
fn padded(mut left: impl Iterator<Item = u16>, mut right: impl Iterator<Item = u16>) -> Ordering {
    const BLANK: u16 = b' ' as u16;
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (Some(one), Some(other)) => one.cmp(&other),
            (Some(rest), None) => rest.cmp(&BLANK),
            (None, Some(rest)) => BLANK.cmp(&rest),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The weight of a character in utf8mb4_general_ci.
#[inline]
fn weight(character: char) -> u16 {
    if character.is_ascii() {
        return u16::from(character.to_ascii_uppercase() as u8);
    }
    rare_weight(character)
}

fn rare_weight(character: char) -> u16 {
    let Ok(number) = u16::try_from(u32::from(character)) else { return BEYOND };
    // Runs of step 2 interleave, so one more run before the last that begins in time may match.
    let end = weights::EQUAL.partition_point(|run| run.0 <= number);
    for (first, last, step, weight) in weights::EQUAL[end.saturating_sub(2)..end].iter().copied() {
        if number <= last && (number - first) % step == 0 {
            return weight;
        }
    }
    let end = weights::SHIFTED.partition_point(|run| run.0 <= number);
    for (first, last, step, by) in weights::SHIFTED[end.saturating_sub(2)..end].iter().copied() {
        if number <= last && (number - first) % step == 0 {
            return u16::try_from(i32::from(number) + by).unwrap_or(BEYOND);
        }
    }
    number
}
