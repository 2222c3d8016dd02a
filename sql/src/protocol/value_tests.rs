use proptest::prelude::*;

use super::*;
use crate::protocol::column::{ColumnFlags, DECIMALS_NOT_FIXED};

fn text(value: &Value<'_>, decimals: u8) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_text(&mut out, value, decimals);
    out.to_vec()
}

fn binary(value: &Value<'_>, wire_type: WireType) -> Result<Vec<u8>, Misfit> {
    let mut out = BytesMut::new();
    put_binary(&mut out, value, &Column::new("c", wire_type))?;
    Ok(out.to_vec())
}

const DAY: Date = Date { year: 2024, month: 2, day: 29 };
const MOMENT: DateTime = DateTime { date: DAY, hour: 1, minute: 2, second: 3, microsecond: 45_000 };
const SPAN: Time = Time { negative: true, hours: 49, minute: 2, second: 3, microsecond: 500_000 };

/// Promise: text is what MySQL prints, with as many digits as the column has.
#[test]
fn text_is_what_mysql_prints() {
    for (value, decimals, expected) in [
        (Value::Int(i64::MIN), 0, "-9223372036854775808"),
        (Value::UInt(u64::MAX), 0, "18446744073709551615"),
        (Value::Double(0.1), DECIMALS_NOT_FIXED, "0.1"),
        (Value::Double(1e20), DECIMALS_NOT_FIXED, "1e20"),
        (Value::Double(2.5), 2, "2.50"),
        (Value::Float(0.1), DECIMALS_NOT_FIXED, "0.1"),
        (Value::Date(DAY), 0, "2024-02-29"),
        (Value::DateTime(MOMENT), 0, "2024-02-29 01:02:03"),
        (Value::DateTime(MOMENT), 3, "2024-02-29 01:02:03.045"),
        (Value::Time(SPAN), 6, "-49:02:03.500000"),
        (Value::from("lamp"), 0, "lamp"),
    ] {
        let found = text(&value, decimals);
        assert_eq!(usize::from(found[0]), expected.len());
        assert_eq!(std::str::from_utf8(&found[1..]), Ok(expected));
    }
    assert_eq!(text(&Value::Null, 0), [0xFB]);
}

/// Promise: binary values are laid out as documented, zeros at the end of dates left out.
#[test]
fn binary_is_laid_out_as_documented() {
    let midnight = DateTime { date: DAY, ..DateTime::default() };
    let whole = DateTime { microsecond: 0, ..MOMENT };
    for (value, wire_type, expected) in [
        (Value::Int(-1), WireType::Tiny, &[0xFF][..]),
        (Value::Int(-2), WireType::Short, &[0xFE, 0xFF]),
        (Value::UInt(0xFFFF_FFFF), WireType::Long, &[0xFF; 4]),
        (Value::UInt(u64::MAX), WireType::LongLong, &[0xFF; 8]),
        (Value::Double(1.0), WireType::Double, &[0, 0, 0, 0, 0, 0, 0xF0, 0x3F]),
        (Value::Date(DAY), WireType::Date, &[4, 0xE8, 7, 2, 29]),
        (Value::Date(Date::default()), WireType::Date, &[0]),
        (Value::DateTime(midnight), WireType::DateTime, &[4, 0xE8, 7, 2, 29]),
        (Value::DateTime(whole), WireType::DateTime, &[7, 0xE8, 7, 2, 29, 1, 2, 3]),
        (
            Value::DateTime(MOMENT),
            WireType::Timestamp,
            &[11, 0xE8, 7, 2, 29, 1, 2, 3, 0xC8, 0xAF, 0, 0],
        ),
        (Value::Time(Time::default()), WireType::Time, &[0]),
        (Value::Time(SPAN), WireType::Time, &[12, 1, 2, 0, 0, 0, 1, 2, 3, 0x20, 0xA1, 7, 0]),
        (Value::from("1.50"), WireType::NewDecimal, b"\x041.50"),
        (Value::Int(7), WireType::VarString, b"\x017"),
    ] {
        assert_eq!(binary(&value, wire_type).as_deref(), Ok(expected), "{value:?}");
    }
}

/// Promise: a value that its column cannot hold is an error, not other bytes.
#[test]
fn misfits_are_refused() {
    assert_eq!(binary(&Value::from("x"), WireType::Long), Err(Misfit));
    assert_eq!(binary(&Value::Int(1), WireType::Date), Err(Misfit));
    assert_eq!(binary(&Value::Null, WireType::Long), Err(Misfit));
}

/// Promise (K06): dates and times of lengths or values that they cannot have are refused.
#[test]
fn k06_impossible_dates_are_refused() {
    let read = |bytes: &[u8], wire_type| {
        let of = ParameterType { wire_type, unsigned: false };
        read_binary(&mut Reader::new(bytes), of).is_ok()
    };
    assert!(read(&[4, 0xE8, 7, 2, 29], WireType::Date));
    assert!(!read(&[4, 0xE8, 7, 13, 29], WireType::Date));
    assert!(!read(&[5, 0xE8, 7, 2, 29, 1], WireType::DateTime));
    assert!(!read(&[7, 0xE8, 7, 2, 29, 24, 0, 0], WireType::DateTime));
    assert!(!read(&[8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3], WireType::Time));
    assert!(!read(&[8, 0, 1], WireType::Time));
}

fn typed() -> impl Strategy<Value = (Value<'static>, WireType, bool)> {
    let date = (0_u16..=9999, 0_u8..=12, 0_u8..=31).prop_map(|(year, month, day)| Date {
        year,
        month,
        day,
    });
    let clock = (0_u8..24, 0_u8..60, 0_u8..60, prop_oneof![Just(0), 0_u32..1_000_000]);
    let moment = (date.clone(), clock.clone()).prop_map(|(date, (hour, minute, second, us))| {
        DateTime { date, hour, minute, second, microsecond: us }
    });
    let span = (any::<bool>(), 0_u32..1 << 20, clock).prop_map(|(negative, hours, clock)| {
        let (_, minute, second, microsecond) = clock;
        let some = hours > 0 || minute > 0 || second > 0 || microsecond > 0;
        Time { negative: negative && some, hours, minute, second, microsecond }
    });
    prop_oneof![
        any::<i8>().prop_map(|n| (Value::Int(n.into()), WireType::Tiny, false)),
        any::<u16>().prop_map(|n| (Value::UInt(n.into()), WireType::Short, true)),
        any::<i32>().prop_map(|n| (Value::Int(n.into()), WireType::Long, false)),
        any::<u64>().prop_map(|n| (Value::UInt(n), WireType::LongLong, true)),
        (-1e9_f32..1e9).prop_map(|n| (Value::Float(n), WireType::Float, false)),
        (-1e99_f64..1e99).prop_map(|n| (Value::Double(n), WireType::Double, false)),
        Just((Value::Bytes(b"some bytes"), WireType::Blob, false)),
        date.prop_map(|date| (Value::Date(date), WireType::Date, false)),
        moment.prop_map(|moment| (Value::DateTime(moment), WireType::DateTime, false)),
        span.prop_map(|span| (Value::Time(span), WireType::Time, false)),
    ]
}

proptest! {
    /// Promise: a value in the binary form comes back.
    #[test]
    fn binary_comes_back((value, wire_type, unsigned) in typed()) {
        let flags = if unsigned { ColumnFlags::UNSIGNED } else { ColumnFlags::default() };
        let column = Column::new("c", wire_type).with_flags(flags);
        let mut out = BytesMut::new();
        put_binary(&mut out, &value, &column).unwrap();
        let mut reader = Reader::new(&out);
        let found = read_binary(&mut reader, ParameterType { wire_type, unsigned }).unwrap();
        prop_assert_eq!(found, value);
        prop_assert!(reader.is_empty());
    }

    /// Promise (K06): any bytes are a value or an error.
    #[test]
    fn k06_any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, number: u8, unsigned: bool) {
        if let Some(wire_type) = WireType::from_number(number) {
            let of = ParameterType { wire_type, unsigned };
            let _any_answer = read_binary(&mut Reader::new(&bytes), of);
        }
    }
}
