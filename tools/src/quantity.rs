//! Sizes, durations, rates and counts, as people write and read them.

use std::fmt;
use std::time::Duration;

const UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes; shown as `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, size)| self.0 >= *size);
        let text = match unit {
            None => format!("{} B", self.0),
            Some((name, size)) => format!("{:.1} {name}", self.0 as f64 / *size as f64),
        };
        f.pad(&text)
    }
}

/// Two amounts in the unit of the larger: `0.9/2.2 GiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn of_total(done: u64, total: u64) -> String {
    let unit = UNITS.iter().find(|(_, size)| total >= *size);
    match unit {
        None => format!("{done}/{total} B"),
        Some((name, size)) => {
            let size = *size as f64;
            format!("{:.1}/{:.1} {name}", done as f64 / size, total as f64 / size)
        }
    }
}

/// Reads `4096`, `64KiB`, `2 GiB`, `48G`, `1.5gb`: units are powers of 1024.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size; write for example 512MiB, 2GiB or 4096");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * f64::from(1_u32 << 10).powi(shift / 10);
    if bytes.is_finite() && bytes < 9e18 { Ok(truncated(bytes)) } else { Err(wrong()) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked by the caller"
)]
fn truncated(bytes: f64) -> u64 {
    bytes as u64
}

/// A count: `10M`, `50k` or plain digits.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a count; write for example 200k, 10M or 5000");
    let trimmed = text.trim().replace('_', "");
    let (digits, factor) = match trimmed.chars().last() {
        Some('k' | 'K') => (&trimmed[..trimmed.len() - 1], 1_000),
        Some('m' | 'M') => (&trimmed[..trimmed.len() - 1], 1_000_000),
        Some('g' | 'G') => (&trimmed[..trimmed.len() - 1], 1_000_000_000),
        _ => (trimmed.as_str(), 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads `30s`, `500ms`, `2m`, `1h`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write for example 500ms, 30s, 2m or 1h");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// `120 MiB/s`.
#[must_use]
pub fn rate(bytes_per_s: f64) -> String {
    format!("{}/s", Bytes(truncated(bytes_per_s.clamp(0.0, 9e18))))
}

/// `41,200,311`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `11s`, `2m 40s`, `1h 5m`: as exact as an estimate deserves.
#[must_use]
pub fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: sizes are shown with one digit after the point, in the largest unit that fits.
    #[test]
    fn sizes_are_shown_as_people_read_them() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1 << 20, "1.0 MiB"), (1610612736, "1.5 GiB")]
        {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
        assert_eq!(of_total(966_367_641, 2_362_232_012), "0.9/2.2 GiB");
        assert_eq!(grouped(41_200_311), "41,200,311");
        assert_eq!(grouped(311), "311");
    }

    /// Promise: what is written is what is meant, and nonsense is refused with an example.
    #[test]
    fn sizes_counts_and_durations_are_read() {
        for (text, bytes) in
            [("4096", 4096), ("64KiB", 65536), ("2 GiB", 2 << 30), ("1.5g", 3 << 29)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "1 parsec", "99999999999T", "-1", "1.2.3"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(parse_count("10M"), Ok(10_000_000));
        assert_eq!(parse_count("1_000"), Ok(1_000));
        assert!(parse_count("M").is_err());
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("5").is_err(), "a duration without unit is ambiguous");
    }

    /// Promise: an estimate is shown no more exactly than it is known.
    #[test]
    fn estimates_are_rough() {
        assert_eq!(rough(Duration::from_millis(11_400)), "11s");
        assert_eq!(rough(Duration::from_secs(160)), "2m 40s");
        assert_eq!(rough(Duration::from_secs(3_900)), "1h 5m");
    }
}
