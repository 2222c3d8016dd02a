//! What is kept of passwords.
//!
//! | plugin | kept | whoever reads the file |
//! |---|---|---|
//! | `caching_sha2_password` | salted, PBKDF2 with HMAC-SHA-256 | has to guess, slowly |
//! | `mysql_native_password` | `SHA1(SHA1(password))` without salt | guesses fast, and tells equal passwords |
//!
//! The second is weak by the protocol's design, and kept only of accounts that ask for it by name.
//! What logs in without it, once the password itself has come, is remembered in memory
//! ([`Remembered`]) and never written.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{Code, SqlError};
use crate::protocol::auth::{NativeHash, Plugin, Secret, Sha2Hash};

/// Rounds of new hashes: some 40 ms of a processor.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(120_000).expect("not zero");

/// Rounds that a hash from elsewhere may ask for: fewer are no protection, more a way to keep
/// processors busy.
const ITERATIONS_ALLOWED: std::ops::RangeInclusive<u32> = 10_000..=2_000_000;

/// Accounts whose passwords are remembered at most; then all are forgotten.
const REMEMBERED_MAX: usize = 100_000;

/// Begins a salted hash as text: `$PBKDF2-SHA256$rounds$salt$hash`, in hexadecimal digits.
const PREFIX: &str = "$PBKDF2-SHA256$";

/// A salted hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salted {
    pub(crate) iterations: u32,
    pub(crate) salt: [u8; 16],
    pub(crate) hash: [u8; 32],
}

/// What is kept of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    /// There is no password.
    Empty,
    /// `SHA1(SHA1(password))`.
    Native(NativeHash),
    /// A salted hash.
    Salted(Salted),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl Salted {
    /// Hashes a password with a fresh salt. Takes long.
    ///
    /// # Errors
    /// If the system has no randomness.
    fn of(password: &str) -> Result<Self, SqlError> {
        let mut salt = [0; 16];
        let none = |_| SqlError::new(Code::UNKNOWN_ERROR, "the system has no random bytes to give");
        SystemRandom::new().fill(&mut salt).map_err(none)?;
        let mut hash = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            password.as_bytes(),
            &mut hash,
        );
        Ok(Self { iterations: ITERATIONS.get(), salt, hash })
    }

    /// From its parts; none if it asks for too few rounds or too many.
    pub(crate) fn from_parts(iterations: u32, salt: [u8; 16], hash: [u8; 32]) -> Option<Self> {
        ITERATIONS_ALLOWED.contains(&iterations).then_some(Self { iterations, salt, hash })
    }

    /// Whether a password is the one. Takes long, whatever it is. None has a zero: HMAC pads its
    /// keys with zeros, so that one more at the end would change nothing.
    fn is(&self, password: &[u8]) -> bool {
        let iterations = NonZeroU32::new(self.iterations).unwrap_or(ITERATIONS);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        let right = pbkdf2::verify(algorithm, iterations, &self.salt, password, &self.hash).is_ok();
        right && !password.contains(&0)
    }
}

/// Compares a password with what is kept of it, or with nothing: both take as long. Blocks for
/// long.
pub(crate) fn is_password(kept: Option<Credential>, password: &[u8]) -> bool {
    match kept {
        Some(Credential::Salted(salted)) => salted.is(password),
        _ => {
            let nobody = Salted { iterations: ITERATIONS.get(), salt: [0; 16], hash: [0; 32] };
            let _as_long_as_for_others = std::hint::black_box(nobody.is(password));
            false
        }
    }
}

impl Credential {
    /// Of a password. Takes long.
    ///
    /// # Errors
    /// If the system has no randomness; 1235 if a zero is in the password, which ends it in the
    /// protocol.
    pub(crate) fn of(plugin: Plugin, password: &str) -> Result<Self, SqlError> {
        if password.contains('\0') {
            return Err(SqlError::not_supported("passwords with a zero character"));
        }
        if password.is_empty() {
            return Ok(Self::Empty);
        }
        match (plugin, Secret::native_of(password)) {
            (Plugin::Native, Secret::Hashes { native: Some(hash), .. }) => Ok(Self::Native(hash)),
            _ => Salted::of(password).map(Self::Salted),
        }
    }

    /// Of a hash as SHOW CREATE USER writes it; of nothing for nothing.
    ///
    /// # Errors
    /// 1827 if it is none of this plugin.
    pub(crate) fn of_hash(plugin: Plugin, text: &str) -> Result<Self, SqlError> {
        if text.is_empty() {
            return Ok(Self::Empty);
        }
        let parsed = match plugin {
            Plugin::Native => {
                text.strip_prefix('*').and_then(bytes).map(NativeHash).map(Self::Native)
            }
            Plugin::Sha2 => salted_of(text).map(Self::Salted),
        };
        parsed.ok_or_else(|| {
            let text = "The password hash doesn't have the expected format.";
            SqlError::new(Code::PASSWORD_FORMAT, text)
        })
    }

    /// As SHOW CREATE USER writes it; none if there is no password.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Native(hash) => Some(format!("*{}", hex(&hash.0).to_ascii_uppercase())),
            Self::Salted(Salted { iterations, salt, hash }) => {
                Some(format!("{PREFIX}{iterations}${}${}", hex(salt), hex(hash)))
            }
        }
    }
}

fn salted_of(text: &str) -> Option<Salted> {
    let mut parts = text.strip_prefix(PREFIX)?.split('$');
    let (iterations, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Salted::from_parts(iterations.parse().ok()?, bytes(salt)?, bytes(hash)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Passwords that came, by account: hashed so that the fast way of `caching_sha2_password` can be
/// gone, as MySQL does. Each is kept with the salted hash that it was compared with, and is worth
/// nothing for another: a changed password, and an account that came anew, need no care.
#[derive(Default)]
pub(crate) struct Remembered {
    hashes: Mutex<HashMap<u64, (Salted, Sha2Hash)>>,
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered")
    }
}

impl Remembered {
    /// A password came and was the account's.
    pub(crate) fn remember(&self, account: u64, kept: Credential, password: &str) {
        let Credential::Salted(salted) = kept else { return };
        let Secret::Hashes { sha2: Some(hash), .. } = Secret::sha2_of(password) else { return };
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= REMEMBERED_MAX {
            hashes.clear();
        }
        hashes.insert(account, (salted, hash));
    }

    /// How an account logs in.
    pub(crate) fn secret(&self, account: u64, kept: Credential) -> Secret {
        match kept {
            Credential::Empty => Secret::Empty,
            Credential::Native(hash) => Secret::Hashes { native: Some(hash), sha2: None },
            Credential::Salted(salted) => {
                let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
                match hashes.get(&account) {
                    Some((of, hash)) if *of == salted => Secret::Remembered(*hash),
                    _ => Secret::Salted,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise (S07): of a password only a salted hash is kept, slow and different each time; or
    /// what `mysql_native_password` needs, where that was asked for.
    #[test]
    fn s07_passwords_are_kept_salted() {
        let [one, other] = [(); 2].map(|()| Credential::of(Plugin::Sha2, "secret").unwrap());
        assert_ne!(one, other);
        for kept in [one, other] {
            let Credential::Salted(salted) = kept else { panic!("salted") };
            assert!(salted.iterations >= 100_000);
            assert!(is_password(Some(kept), b"secret"));
            for wrong in [&b"Secret"[..], b"secret\0", b"", b"secre"] {
                assert!(!is_password(Some(kept), wrong));
            }
        }
        let native = Credential::of(Plugin::Native, "secret").unwrap();
        assert_eq!(native.text().unwrap(), "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
        assert!(!is_password(Some(native), b"secret"), "never by the password itself");
        assert!(!is_password(Some(Credential::Empty), b"") && !is_password(None, b""));
        assert_eq!(Credential::of(Plugin::Sha2, "a\0").unwrap_err().code.0, 1235);
        assert_eq!(format!("{one:?} {native:?}"), "Credential Credential");
    }

    /// Promise: hashes are written as they are read; what is none is refused.
    #[test]
    fn hashes_as_text() {
        let salted = Credential::Salted(Salted {
            iterations: 10_000,
            salt: [1; 16],
            hash: std::array::from_fn(|n| n as u8),
        });
        let native = Credential::Native(NativeHash([0xAB; 20]));
        for (plugin, kept) in [(Plugin::Sha2, salted), (Plugin::Native, native)] {
            let text = kept.text().unwrap();
            assert_eq!(Credential::of_hash(plugin, &text).unwrap(), kept);
            let other = if plugin == Plugin::Sha2 { Plugin::Native } else { Plugin::Sha2 };
            let longer = text.clone() + "0";
            for (plugin, wrong) in [(other, &*text), (plugin, &text[..9]), (plugin, &longer)] {
                assert_eq!(Credential::of_hash(plugin, wrong).unwrap_err().code.0, 1827, "{wrong}");
            }
        }
        let text = salted.text().unwrap();
        for rounds in ["1", "0", "2000001", "x"] {
            let wrong = text.replace("$10000$", &format!("${rounds}$"));
            assert!(Credential::of_hash(Plugin::Sha2, &wrong).is_err(), "{rounds}");
        }
    }

    /// Promise (S02): it takes as long to say that nobody has a password as that it is wrong.
    #[test]
    fn s02_nobody_takes_as_long_as_anybody() {
        let kept = Credential::of(Plugin::Sha2, "secret").unwrap();
        let fastest = |kept: Option<Credential>| {
            let once = |_| {
                let begin = std::time::Instant::now();
                assert!(!is_password(kept, b"wrong"));
                begin.elapsed()
            };
            (0..5).map(once).min().unwrap()
        };
        let (known, unknown) = (fastest(Some(kept)), fastest(None));
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        assert!((0.5..2.0).contains(&ratio), "{known:?} {unknown:?}");
    }

    /// Promise (S08): what was remembered is worth nothing once the password is another.
    #[test]
    fn s08_a_changed_password_is_not_remembered() {
        let remembered = Remembered::default();
        let old = Credential::of(Plugin::Sha2, "old").unwrap();
        assert_eq!(remembered.secret(1, old), Secret::Salted);
        remembered.remember(1, old, "old");
        assert!(matches!(remembered.secret(1, old), Secret::Remembered(_)));
        assert_eq!(remembered.secret(2, old), Secret::Salted);
        let same_again = Credential::of(Plugin::Sha2, "old").unwrap();
        assert_eq!(remembered.secret(1, same_again), Secret::Salted);
    }
}
