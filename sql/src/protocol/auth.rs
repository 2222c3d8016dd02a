//! Passwords that never travel: both ways to log in answer a salt.
//!
//! ```text
//!   mysql_native_password   SHA1(p) ^ SHA1(salt │ SHA1(SHA1(p)))              kept: SHA1(SHA1(p))
//!   caching_sha2_password   SHA256(p) ^ SHA256(SHA256(SHA256(p)) │ salt)      kept: SHA256(SHA256(p))
//! ```
//!
//! What is kept lets the server take the answer apart and hash the first half again; it is not
//! enough to log in. Where only a salted slow hash is kept, the password itself must come, which
//! is asked for over TLS only: there is no exchange by RSA, so that a connection in the clear is
//! refused instead (row S04 of the catalogue).

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a salt.
pub const SALT_LEN: usize = 20;

/// Random bytes that a login must answer; each connection has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_LEN]);

impl Salt {
    /// Draws one from the operating system. Clients handle it as text, so no byte is zero.
    ///
    /// # Errors
    /// If the system has no randomness to give; nobody may log in then.
    pub fn draw() -> Result<Self, NoRandomness> {
        let mut salt = random::<SALT_LEN>()?;
        for byte in &mut salt {
            *byte = (*byte & 0x7F).max(1);
        }
        Ok(Self(salt))
    }
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random bytes to give")]
pub struct NoRandomness;

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `mysql_native_password`, the old one.
    Native,
    /// `caching_sha2_password`, what clients expect since MySQL 8.
    Sha2,
}

impl Plugin {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::Sha2 => "caching_sha2_password",
        }
    }

    /// The plugin of this name.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::Sha2].into_iter().find(|plugin| plugin.name().as_bytes() == name)
    }
}

/// `SHA1(SHA1(password))`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NativeHash(pub [u8; 20]);

/// `SHA256(SHA256(password))`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha2Hash(pub [u8; 32]);

/// What is kept of a password. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The account has no password.
    Empty,
    /// A hash for one or both ways to log in; at least one, else nobody gets in.
    Hashes {
        /// For `mysql_native_password`.
        native: Option<NativeHash>,
        /// For `caching_sha2_password`.
        sha2: Option<Sha2Hash>,
    },
    /// A slow hash that only the password itself can be compared with.
    Salted,
    /// The same, of a password that came before: its hash is in memory. Whoever knows it comes in
    /// the fast way; whoever does not is asked as if nothing were known.
    Remembered(Sha2Hash),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// What to keep of a password for both ways.
    #[must_use]
    pub fn of(password: &str) -> Self {
        if password.is_empty() {
            return Self::Empty;
        }
        let native = NativeHash(sha1(&[&sha1(&[password.as_bytes()])]));
        let sha2 = Sha2Hash(sha256(&[&sha256(&[password.as_bytes()])]));
        Self::Hashes { native: Some(native), sha2: Some(sha2) }
    }

    /// For `caching_sha2_password` only.
    #[must_use]
    pub fn sha2_of(password: &str) -> Self {
        match Self::of(password) {
            Self::Hashes { sha2, .. } => Self::Hashes { native: None, sha2 },
            other => other,
        }
    }

    /// For `mysql_native_password` only.
    #[must_use]
    pub fn native_of(password: &str) -> Self {
        match Self::of(password) {
            Self::Hashes { native, .. } => Self::Hashes { native, sha2: None },
            other => other,
        }
    }

    /// A secret that nobody knows, of the same kind as this one: a login of a user who does not
    /// exist takes the same steps as one with a wrong password (row S02).
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn decoy(self) -> Result<Self, NoRandomness> {
        let hash = random::<52>()?;
        let (native_bytes, sha2_bytes) = hash.split_at(20);
        let native_hash = NativeHash(native_bytes.try_into().expect("20 bytes were split off"));
        let sha2_hash = Sha2Hash(sha2_bytes.try_into().expect("32 bytes are left"));
        Ok(match self {
            Self::Empty => Self::Hashes { native: Some(native_hash), sha2: Some(sha2_hash) },
            Self::Hashes { native, sha2 } => {
                Self::Hashes { native: native.map(|_| native_hash), sha2: sha2.map(|_| sha2_hash) }
            }
            Self::Salted | Self::Remembered(_) => Self::Salted,
        })
    }

    /// The way to log in that the account wants.
    #[must_use]
    pub const fn plugin(self) -> Plugin {
        match self {
            Self::Hashes { native: Some(_), sha2: None } => Plugin::Native,
            _ => Plugin::Sha2,
        }
    }

    const fn allows(self, plugin: Plugin) -> bool {
        match (self, plugin) {
            (Self::Empty, _) => true,
            (Self::Hashes { native, .. }, Plugin::Native) => native.is_some(),
            (Self::Hashes { sha2, .. }, Plugin::Sha2) => sha2.is_some(),
            (Self::Salted | Self::Remembered(_), plugin) => matches!(plugin, Plugin::Sha2),
        }
    }
}

/// What follows from a client's answer to the salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Granted,
    /// It is not.
    Denied,
    /// The account wants another way to log in.
    Switch(Plugin),
    /// The password itself must come.
    AskPassword,
}

/// Judges an answer to the salt, given by way of `plugin` (none: one that is not known here).
#[must_use]
pub fn judge(secret: Secret, plugin: Option<Plugin>, salt: &Salt, answer: &[u8]) -> Verdict {
    let Some(plugin) = plugin.filter(|plugin| secret.allows(*plugin)) else {
        return Verdict::Switch(secret.plugin());
    };
    // Some clients send the zero that ends an empty password.
    let is_empty = matches!(answer, [] | [0]);
    let right = match (secret, plugin) {
        (Secret::Empty, _) => is_empty,
        (Secret::Remembered(hash), _) if is_sha2_answer(&hash, salt, answer) => true,
        (Secret::Salted | Secret::Remembered(_), _) if !is_empty => return Verdict::AskPassword,
        (Secret::Hashes { native: Some(hash), .. }, Plugin::Native) => {
            is_native_answer(&hash, salt, answer)
        }
        (Secret::Hashes { sha2: Some(hash), .. }, Plugin::Sha2) => {
            is_sha2_answer(&hash, salt, answer)
        }
        _ => false,
    };
    if right { Verdict::Granted } else { Verdict::Denied }
}

fn is_native_answer(hash: &NativeHash, salt: &Salt, answer: &[u8]) -> bool {
    let Ok(mut half) = <[u8; 20]>::try_from(answer) else { return false };
    xor(&mut half, &sha1(&[&salt.0, &hash.0]));
    are_equal(&sha1(&[&half]), &hash.0)
}

fn is_sha2_answer(hash: &Sha2Hash, salt: &Salt, answer: &[u8]) -> bool {
    let Ok(mut half) = <[u8; 32]>::try_from(answer) else { return false };
    xor(&mut half, &sha256(&[&hash.0, &salt.0]));
    are_equal(&sha256(&[&half]), &hash.0)
}

/// What a client answers to a salt. For tests and for nodes that are clients of others.
#[must_use]
pub fn answer(plugin: Plugin, password: &str, salt: &Salt) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    match plugin {
        Plugin::Native => {
            let mut half = sha1(&[password.as_bytes()]);
            xor(&mut half, &sha1(&[&salt.0, &sha1(&[&sha1(&[password.as_bytes()])])]));
            half.to_vec()
        }
        Plugin::Sha2 => {
            let mut half = sha256(&[password.as_bytes()]);
            xor(&mut half, &sha256(&[&sha256(&[&sha256(&[password.as_bytes()])]), &salt.0]));
            half.to_vec()
        }
    }
}

fn xor<const N: usize>(bytes: &mut [u8; N], with: &[u8; N]) {
    bytes.iter_mut().zip(with).for_each(|(byte, other)| *byte ^= other);
}

/// Compares all bytes whatever they are, so that the time it takes tells nothing; and the whole
/// length, not a part that was cast to less (CVE-2012-2122).
fn are_equal<const N: usize>(left: &[u8; N], right: &[u8; N]) -> bool {
    let differs = left.iter().zip(right).fold(0, |differs, (l, r)| differs | (l ^ r));
    std::hint::black_box(differs) == 0
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts)
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    hash(&digest::SHA256, parts)
}

fn hash<const N: usize>(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> [u8; N] {
    let mut context = digest::Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("the algorithm gives so many bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Promise: hashes are those that MySQL keeps: `PASSWORD('secret')` of MySQL 5.7 is
    /// `*14E65567ABDB5135D0CFD9A70B3032C179A49EE7`.
    #[test]
    fn hashes_are_those_of_mysql() {
        let Secret::Hashes { native: Some(native), sha2: Some(sha2) } = Secret::of("secret") else {
            panic!("both")
        };
        assert_eq!(hex(&native.0), "14e65567abdb5135d0cfd9a70b3032c179a49ee7");
        let once = sha256(&[b"secret"]);
        assert_eq!(hex(&once), "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        assert_eq!(sha2.0, sha256(&[&once]));
    }

    /// Promise (S01): of 100,000 wrong answers for each plugin none is taken, nor is a right one
    /// that is cut, longer, or for another salt.
    #[test]
    fn s01_wrong_passwords_never_pass() {
        let secret = Secret::of("right");
        let salt = Salt::draw().unwrap();
        for plugin in [Plugin::Native, Plugin::Sha2] {
            let right = answer(plugin, "right", &salt);
            assert_eq!(judge(secret, Some(plugin), &salt, &right), Verdict::Granted);
            for n in 0..100_000 {
                let wrong = answer(plugin, &format!("wrong {n}"), &salt);
                assert_eq!(judge(secret, Some(plugin), &salt, &wrong), Verdict::Denied);
            }
            let longer = [&right[..], &[0]].concat();
            let mut flipped = right.clone();
            flipped[19] ^= 1;
            for wrong in [&right[1..], &right[..19], &longer, &flipped, &[], &[0]] {
                assert_eq!(judge(secret, Some(plugin), &salt, wrong), Verdict::Denied);
            }
        }
    }

    /// Promise (S03): an answer is worth nothing for another salt, and salts differ.
    #[test]
    fn s03_a_recorded_answer_is_worthless() {
        let secret = Secret::of("right");
        let (first, second) = (Salt::draw().unwrap(), Salt::draw().unwrap());
        assert_ne!(first, second);
        assert!(first.0.iter().all(|byte| (1..0x80).contains(byte)));
        for plugin in [Plugin::Native, Plugin::Sha2] {
            let recorded = answer(plugin, "right", &first);
            assert_eq!(judge(secret, Some(plugin), &second, &recorded), Verdict::Denied);
        }
    }

    /// Promise: accounts are asked for what they have: another way, the password itself, nothing.
    #[test]
    fn the_account_decides_the_way() {
        let salt = Salt::draw().unwrap();
        let only = |plugin| match plugin {
            Plugin::Native => Secret::native_of("p"),
            Plugin::Sha2 => Secret::sha2_of("p"),
        };
        for (has, other) in [(Plugin::Native, Plugin::Sha2), (Plugin::Sha2, Plugin::Native)] {
            let wrong_way = answer(other, "p", &salt);
            assert_eq!(judge(only(has), Some(other), &salt, &wrong_way), Verdict::Switch(has));
            assert_eq!(judge(only(has), None, &salt, &wrong_way), Verdict::Switch(has));
        }
        let sha2 = Some(Plugin::Sha2);
        assert_eq!(judge(Secret::Salted, sha2, &salt, &[1; 32]), Verdict::AskPassword);
        assert_eq!(judge(Secret::Salted, sha2, &salt, &[]), Verdict::Denied);
        let Secret::Hashes { sha2: Some(hash), .. } = Secret::of("p") else { panic!("both") };
        let remembered = |answer: &[u8]| judge(Secret::Remembered(hash), sha2, &salt, answer);
        assert_eq!(remembered(&answer(Plugin::Sha2, "p", &salt)), Verdict::Granted);
        assert_eq!(remembered(&answer(Plugin::Sha2, "q", &salt)), Verdict::AskPassword);
        assert_eq!(remembered(&[]), Verdict::Denied);
        assert_eq!(judge(Secret::Empty, sha2, &salt, &[0]), Verdict::Granted);
        assert_eq!(judge(Secret::Empty, sha2, &salt, &[1; 32]), Verdict::Denied);
        let nobody = Secret::Hashes { native: None, sha2: None };
        assert_eq!(judge(nobody, sha2, &salt, &[]), Verdict::Switch(Plugin::Sha2));
    }

    /// Promise (S17): what is kept of a password is not printed.
    #[test]
    fn s17_secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Secret::of("p")), "Secret");
    }

    proptest! {
        /// Promise: the right password always passes, any other answer never does.
        #[test]
        fn right_passes_and_random_does_not(password in ".{1,40}", random: Vec<u8>) {
            let salt = Salt::draw().unwrap();
            let secret = Secret::of(&password);
            for plugin in [Plugin::Native, Plugin::Sha2] {
                let right = answer(plugin, &password, &salt);
                prop_assert_eq!(judge(secret, Some(plugin), &salt, &right), Verdict::Granted);
                prop_assert_eq!(judge(secret, Some(plugin), &salt, &random), Verdict::Denied);
            }
        }
    }
}
