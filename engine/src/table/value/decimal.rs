//! Exact decimal numbers of up to 38 digits: what DECIMAL columns hold.
//!
//! A number is `unscaled / 10^scale`, so `12.50` is `(1250, 2)`. The scale is kept because it is
//! shown: MySQL prints `12.50` from a `decimal(4,2)`. Comparison is by number, not by scale.

use std::cmp::Ordering;
use std::fmt;

/// Most digits of a DECIMAL column, of which at most [`SCALE_MAX`] after the point. MySQL allows
/// 65; 38 is what fits 16 bytes.
pub const PRECISION_MAX: u8 = 38;

/// Most digits after the point of a DECIMAL column, as in MySQL.
pub const SCALE_MAX: u8 = 30;

/// A decimal number: `unscaled / 10^scale`.
#[derive(Clone, Copy, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}

/// `10^exponent`, for exponents up to 38: the largest that `i128` holds.
#[must_use]
const fn power_of_ten(exponent: u8) -> i128 {
    assert!(exponent <= PRECISION_MAX, "10^38 is the largest power of ten in an i128");
    10_i128.pow(exponent as u32)
}

impl Decimal {
    /// `unscaled / 10^scale`; `None` beyond 38 digits.
    #[must_use]
    pub fn new(unscaled: i128, scale: u8) -> Option<Self> {
        let fits = scale <= PRECISION_MAX && unscaled.abs_diff(0) < 10_u128.pow(38);
        fits.then_some(Self { unscaled, scale })
    }

    /// The digits as one integer, without the point.
    #[must_use]
    pub const fn unscaled(self) -> i128 {
        self.unscaled
    }

    /// Digits after the point.
    #[must_use]
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The same number with `scale` digits after the point, rounded half away from zero as MySQL
    /// does; `None` if it then needs more than 38 digits.
    #[must_use]
    pub fn rescaled(self, scale: u8) -> Option<Self> {
        if scale > PRECISION_MAX {
            return None;
        }
        let unscaled = match scale.cmp(&self.scale) {
            Ordering::Equal => self.unscaled,
            Ordering::Greater => self.unscaled.checked_mul(power_of_ten(scale - self.scale))?,
            Ordering::Less => {
                let unit = power_of_ten(self.scale - scale);
                let (whole, rest) = (self.unscaled / unit, self.unscaled % unit);
                let away = rest.abs_diff(0) >= unit.abs_diff(0).div_ceil(2);
                if away { whole + self.unscaled.signum() } else { whole }
            }
        };
        Self::new(unscaled, scale)
    }

    /// Whether the number has at most `precision` digits in all, at its present scale.
    #[must_use]
    pub fn fits(self, precision: u8) -> bool {
        self.unscaled.abs_diff(0) < power_of_ten(precision).abs_diff(0)
    }

    /// Reads `-12.5`, `.5`, `3.`, `1.25e3`. `None` if it is not a number or has more than 38
    /// digits before the point. Digits after the point beyond 38 in all are cut off, which
    /// cannot change a later rounding half away from zero to fewer digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = split_exponent(text)?;
        let (negative, digits) = match mantissa.as_bytes().first()? {
            b'-' => (true, &mantissa[1..]),
            b'+' => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 {
            return None;
        }
        let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
        let unsigned = Self::from_digits(whole.bytes().chain(fraction.bytes()), point)?;
        Some(if negative { Self { unscaled: -unsigned.unscaled, ..unsigned } } else { unsigned })
    }

    /// The number `0.d1d2d3… × 10^point`.
    fn from_digits(digits: impl Iterator<Item = u8>, point: i64) -> Option<Self> {
        let (mut unscaled, mut taken, mut full) = (0_i128, 0_i64, false);
        for (position, digit) in (0_i64..).zip(digits) {
            if !digit.is_ascii_digit() {
                return None;
            }
            // Before the point every digit counts, and too many mean the number is too large.
            // After it the rest is only looked at to see that it consists of digits.
            full = full || unscaled >= power_of_ten(37) || position - point >= 38;
            if !full {
                (unscaled, taken) = (unscaled * 10 + i128::from(digit - b'0'), position + 1);
            } else if position < point {
                return None;
            }
        }
        let scale = taken - point;
        if unscaled == 0 {
            return Self::new(0, u8::try_from(scale.clamp(0, 38)).ok()?);
        }
        if scale >= 0 {
            return Self::new(unscaled, u8::try_from(scale).ok()?);
        }
        let zeros = u8::try_from(-scale).ok().filter(|zeros| *zeros <= PRECISION_MAX)?;
        Self::new(unscaled.checked_mul(power_of_ten(zeros))?, 0)
    }

    /// The nearest double.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // By way of text, because dividing two rounded doubles rounds twice.
        self.to_string().parse().expect("a decimal prints as a number")
    }

    /// The shortest decimal that reads back as `number`; `None` for infinities, NaN and numbers
    /// of more than 38 digits.
    #[must_use]
    pub fn from_f64(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self::parse(&format!("{number:e}"))).flatten()
    }
}

/// Splits `1.5e-3` in `1.5` and `-3`. The exponent is bounded so that nothing overflows later.
fn split_exponent(text: &str) -> Option<(&str, i32)> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Some((text, 0)) };
    let exponent = exponent.parse::<i32>().ok().filter(|exponent| exponent.abs() <= 10_000)?;
    Some((mantissa, exponent))
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self { unscaled: i128::from(number), scale: 0 }
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self { unscaled: i128::from(number), scale: 0 }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = |number: &Self, scale: u8| {
            let unit = power_of_ten(number.scale);
            // The part after the point is below 10^scale, so bringing it to the larger of two
            // scales stays below 10^38.
            let fraction = number.unscaled % unit * power_of_ten(scale - number.scale);
            (number.unscaled / unit, fraction)
        };
        let scale = self.scale.max(other.scale);
        parts(self, scale).cmp(&parts(other, scale))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

/// With all digits after the point that the scale has, as MySQL prints it.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.unscaled < 0 { "-" } else { "" };
        let unit = power_of_ten(self.scale).abs_diff(0);
        let digits = self.unscaled.abs_diff(0);
        write!(f, "{sign}{}", digits / unit)?;
        if self.scale == 0 {
            return Ok(());
        }
        write!(f, ".{:0width$}", digits % unit, width = usize::from(self.scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, unscaled: i128, scale: u8) {
        let number = Decimal::parse(text).unwrap();
        assert_eq!((number.unscaled(), number.scale()), (unscaled, scale), "{text}");
    }

    #[test]
    fn text_is_read_exactly() {
        reads("0", 0, 0);
        reads("-12.50", -1250, 2);
        reads(".5", 5, 1);
        reads("3.", 3, 0);
        reads("+1.25e3", 1250, 0);
        reads("125e-4", 125, 4);
        reads("0e99", 0, 0);
        reads("1e-50", 0, 38);
        reads("99999999999999999999999999999999999999", 10_i128.pow(38) - 1, 0);
        reads("000000000000000000000000000000000000000000001.5", 15, 1);
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused() {
        for text in ["", "-", ".", "1a", "1.2.3", "--1", "1e", "1e99999", "e5", "1e39"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
        assert!(Decimal::parse(&"9".repeat(39)).is_none());
    }

    #[test]
    fn digits_beyond_38_are_cut_off_but_still_checked() {
        let long = format!("0.{}", "4".repeat(60));
        assert_eq!(Decimal::parse(&long).unwrap().to_string(), format!("0.{}", "4".repeat(38)));
        assert!(Decimal::parse(&format!("{long}x")).is_none());
    }

    #[test]
    fn rounding_is_half_away_from_zero_as_in_mysql() {
        for (text, scale, expected) in [
            ("1.005", 2, "1.01"),
            ("-1.005", 2, "-1.01"),
            ("1.0049", 2, "1.00"),
            ("0.5", 0, "1"),
            ("-0.5", 0, "-1"),
            ("-0.4", 0, "0"),
            ("7", 3, "7.000"),
        ] {
            let rounded = Decimal::parse(text).unwrap().rescaled(scale).unwrap();
            assert_eq!(rounded.to_string(), expected, "{text} to {scale} digits");
        }
        assert!(Decimal::new(10_i128.pow(37), 0).unwrap().rescaled(2).is_none());
    }

    #[test]
    fn order_is_by_number_across_scales() {
        let sorted = ["-99999999999999999999", "-1.5", "-1.49", "0", "0.001", "1", "1.1", "2"];
        for pair in sorted.windows(2) {
            let (low, high) = (Decimal::parse(pair[0]), Decimal::parse(pair[1]));
            assert!(low.unwrap() < high.unwrap(), "{pair:?}");
        }
        assert_eq!(Decimal::parse("1.50"), Decimal::parse("1.5"));
        assert_eq!(Decimal::parse("-0.0"), Decimal::parse("0"));
    }

    #[test]
    fn doubles_convert_by_their_shortest_text() {
        assert_eq!(Decimal::from_f64(0.1).unwrap().to_string(), "0.1");
        assert_eq!(Decimal::from_f64(-1.5e10).unwrap().to_string(), "-15000000000");
        assert_eq!(Decimal::parse("0.1").unwrap().to_f64(), 0.1);
        assert!(Decimal::from_f64(f64::NAN).is_none());
        assert!(Decimal::from_f64(1e300).is_none());
    }
}
