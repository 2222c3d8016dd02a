//! Arithmetic with exact decimals as MySQL does it: division goes some digits further than the
//! result shows, results that need more than 38 digits lose digits after the point first.

use resprout_engine::table::{Decimal, PRECISION_MAX, SCALE_MAX};

/// Digits that division adds (MySQL's `div_precision_increment`).
pub(super) const DIVISION_DIGITS: u8 = 4;

/// MySQL keeps decimals in words of so many digits, and division fills the last word.
const WORD_DIGITS: u8 = 9;

const LIMIT: u128 = 10_u128.pow(38);

fn power(exponent: u8) -> u128 {
    10_u128.pow(u32::from(exponent.min(PRECISION_MAX)))
}

/// `left × right` in 256 bits, high and low half.
fn wide_product(left: u128, right: u128) -> (u128, u128) {
    const HALF: u128 = u64::MAX as u128;
    let (lh, ll, rh, rl) = (left >> 64, left & HALF, right >> 64, right & HALF);
    let low = ll * rl;
    let (middle, carry) = (lh * rl).overflowing_add(ll * rh);
    let (low, carry_low) = low.overflowing_add(middle << 64);
    let high = lh * rh + (middle >> 64) + (u128::from(carry) << 64) + u128::from(carry_low);
    (high, low)
}

/// `left × right / divisor` and whether the rest is half of the divisor or more; `None` beyond 128
/// bits.
fn scaled(left: u128, right: u128, divisor: u128) -> Option<(u128, bool)> {
    let (mut rest, low) = wide_product(left, right);
    if rest == 0 {
        let rest = low % divisor;
        return Some((low / divisor, rest >= divisor.div_ceil(2)));
    }
    if rest >= divisor {
        return None;
    }
    let mut quotient = 0_u128;
    for bit in (0..128).rev() {
        let carry = rest >> 127;
        rest = (rest << 1) | (low >> bit & 1);
        quotient <<= 1;
        if carry == 1 || rest >= divisor {
            rest = rest.wrapping_sub(divisor);
            quotient |= 1;
        }
    }
    Some((quotient, rest >= divisor.div_ceil(2)))
}

fn signed(negative: bool, digits: u128, scale: u8) -> Option<Decimal> {
    let digits = i128::try_from(digits).ok()?;
    Decimal::new(if negative { -digits } else { digits }, scale)
}

/// The sum; `None` beyond 38 digits before the point.
pub(super) fn add(left: Decimal, right: Decimal) -> Option<Decimal> {
    let mut scale = left.scale().max(right.scale());
    loop {
        let sum = (|| {
            let (one, other) = (left.rescaled(scale)?, right.rescaled(scale)?);
            Decimal::new(one.unscaled().checked_add(other.unscaled())?, scale)
        })();
        if sum.is_some() || scale == 0 {
            return sum;
        }
        scale -= 1;
    }
}

/// The same number with the other sign.
pub(super) fn negated(number: Decimal) -> Decimal {
    Decimal::new(-number.unscaled(), number.scale()).unwrap_or(number)
}

/// The product; `None` beyond 38 digits before the point.
pub(super) fn multiply(left: Decimal, right: Decimal) -> Option<Decimal> {
    let negative = (left.unscaled() < 0) != (right.unscaled() < 0);
    let (one, other) = (left.unscaled().unsigned_abs(), right.unscaled().unsigned_abs());
    let scale = left.scale() + right.scale();
    let least = scale.saturating_sub(SCALE_MAX);
    for dropped in least..=scale.min(PRECISION_MAX) {
        if let Some((digits, up)) = scaled(one, other, power(dropped)) {
            let digits = digits + u128::from(up && dropped > 0);
            if digits < LIMIT {
                return signed(negative, digits, scale - dropped);
            }
        }
    }
    None
}

fn whole_words(digits: u8) -> u8 {
    digits.div_ceil(WORD_DIGITS) * WORD_DIGITS
}

/// The quotient, cut off after as many digits as MySQL computes; `None` beyond 38 digits before
/// the point. The divisor is not zero.
pub(super) fn divide(left: Decimal, right: Decimal) -> Option<Decimal> {
    let (one, other) = (whole_words(left.scale()), whole_words(right.scale()));
    let spare = one - left.scale() + other - right.scale();
    let scale = whole_words(one + other + DIVISION_DIGITS.saturating_sub(spare));
    quotient(left, right, scale.min(PRECISION_MAX))
}

/// The quotient cut off to a whole number.
pub(super) fn divide_whole(left: Decimal, right: Decimal) -> Option<i128> {
    // The divisor's digits after the point count as digits before it.
    let (one, other) = (left.unscaled().unsigned_abs(), right.unscaled().unsigned_abs());
    let negative = (left.unscaled() < 0) != (right.unscaled() < 0);
    let (digits, _) = match right.scale().checked_sub(left.scale()) {
        Some(more) => scaled(one, power(more), other)?,
        None => {
            let (digits, _) = scaled(one, 1, power(left.scale() - right.scale()))?;
            (digits / other, false)
        }
    };
    let digits = i128::try_from(digits).ok()?;
    Some(if negative { -digits } else { digits })
}

fn quotient(left: Decimal, right: Decimal, mut scale: u8) -> Option<Decimal> {
    let negative = (left.unscaled() < 0) != (right.unscaled() < 0);
    let (one, other) = (left.unscaled().unsigned_abs(), right.unscaled().unsigned_abs());
    loop {
        // left / 10^l / (right / 10^r) × 10^scale = left × 10^(scale + r - l) / right
        let exponent = i16::from(scale) + i16::from(right.scale()) - i16::from(left.scale());
        let digits = match u8::try_from(exponent) {
            Ok(exponent) if exponent > PRECISION_MAX => None,
            Ok(exponent) => scaled(one, power(exponent), other).map(|(digits, _)| digits),
            Err(_) => {
                let less = u8::try_from(-exponent).unwrap_or(PRECISION_MAX);
                Some(one / power(less) / other)
            }
        };
        match digits.filter(|digits| *digits < LIMIT) {
            Some(digits) => return signed(negative, digits, scale),
            None if scale == 0 => return None,
            None => scale -= 1,
        }
    }
}

/// The rest of a division with the sign of the dividend; the divisor is not zero.
pub(super) fn remainder(left: Decimal, right: Decimal) -> Option<Decimal> {
    let scale = left.scale().max(right.scale());
    if let (Some(one), Some(other)) = (left.rescaled(scale), right.rescaled(scale)) {
        return Decimal::new(one.unscaled() % other.unscaled(), scale);
    }
    // One of them is too long to be brought to the other's scale.
    let whole = Decimal::new(divide_whole(left, right)?, 0)?;
    add(left, negated(multiply(whole, right)?))
}

/// Cut off after `scale` digits, without rounding.
pub(super) fn truncated(number: Decimal, scale: u8) -> Decimal {
    let Some(less) = number.scale().checked_sub(scale) else { return number };
    let unit = i128::try_from(power(less)).unwrap_or(i128::MAX);
    Decimal::new(number.unscaled() / unit, scale).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    /// Digits that do not fit are lost after the point, never before it.
    #[test]
    fn results_lose_digits_after_the_point_first() {
        let long = decimal("12345678901234567890123456789.123456789");
        let product = multiply(long, decimal("1000000.5")).unwrap();
        assert_eq!(product.to_string(), "12345685074074018507407401850851851.351");
        assert!(multiply(long, long).is_none());
        let sum = add(decimal(&"9".repeat(38)), decimal("-0.25")).unwrap();
        assert_eq!(sum.to_string(), "99999999999999999999999999999999999999");
        assert!(add(decimal(&"9".repeat(38)), decimal("0.5")).is_none());
    }

    proptest! {
        /// Exact arithmetic agrees with whole numbers of 128 bits where those are enough.
        #[test]
        fn small_numbers_agree_with_i128(
            a in -1_000_000_000_i64..1_000_000_000,
            b in -1_000_000_000_i64..1_000_000_000,
            s in 0_u8..6,
            t in 0_u8..6,
        ) {
            let (x, y) = (i128::from(a), i128::from(b));
            let (left, right) = (Decimal::new(x, s).unwrap(), Decimal::new(y, t).unwrap());
            let product = multiply(left, right).unwrap();
            prop_assert_eq!((product.unscaled(), product.scale()), (x * y, s + t));
            let m = s.max(t);
            let (p, q) = (x * 10_i128.pow(u32::from(m - s)), y * 10_i128.pow(u32::from(m - t)));
            prop_assert_eq!(add(left, right).unwrap().unscaled(), p + q);
            if y != 0 {
                prop_assert_eq!(divide_whole(left, right), Some(p / q));
                prop_assert_eq!(remainder(left, right).unwrap().unscaled(), p % q);
                let quotient = divide(left, right).unwrap();
                let scale = u32::from(quotient.scale());
                prop_assert_eq!(quotient.unscaled(), p * 10_i128.pow(scale) / q);
            }
        }

        /// A product divided by one of its factors is the other.
        #[test]
        fn wide_products_divide_back(a in any::<u128>(), b in 1..=u128::MAX) {
            prop_assert_eq!(scaled(a, b, b), Some((a, false)));
        }

        /// No numbers make it panic, and no result has more than 38 digits.
        #[test]
        fn any_numbers_are_taken(
            a in -(10_i128.pow(38) - 1)..10_i128.pow(38),
            b in -(10_i128.pow(38) - 1)..10_i128.pow(38),
            s in 0_u8..=38,
            t in 0_u8..=38,
        ) {
            let (left, right) = (Decimal::new(a, s).unwrap(), Decimal::new(b, t).unwrap());
            let _sum = add(left, right);
            let _product = multiply(left, right);
            if b != 0 {
                let _quotient = divide(left, right);
                let _whole = divide_whole(left, right);
                let _rest = remainder(left, right);
            }
        }
    }
}
