//! Where an account may come from: the host in `'user'@'host'`.
//!
//! Names of hosts are not looked up: whoever can change what a name means could log in. So a host
//! is `localhost` (this machine, by whichever loopback address), an address, a network, or a
//! pattern of LIKE on the address as text.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use crate::error::SqlError;
use crate::expression::{Collation, Pattern};

/// A host of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Localhost,
    Address(IpAddr),
    Network { address: u32, mask: u32 },
    Pattern,
}

/// Where an account may come from, as it is written: in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    text: String,
    kind: Kind,
}

impl Host {
    /// Of a host as it is written. Nothing means anywhere, as `%`.
    ///
    /// # Errors
    /// 1235 for names of hosts and anything else that would match nobody.
    pub(crate) fn parse(text: &str) -> Result<Self, SqlError> {
        let text = if text.is_empty() { "%".to_owned() } else { text.to_ascii_lowercase() };
        let kind = kind_of(&text).ok_or_else(|| {
            let what = "names of hosts in accounts: write localhost, an address, a network such as \
                10.0.0.0/255.0.0.0, or a pattern such as 10.%";
            SqlError::not_supported(what)
        })?;
        Ok(Self { text, kind })
    }

    /// As it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a client at this address comes from here.
    pub(crate) fn matches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self.kind {
            Kind::Localhost => address.is_loopback(),
            Kind::Address(own) => own.to_canonical() == address,
            Kind::Network { address: own, mask } => match address {
                IpAddr::V4(address) => address.to_bits() & mask == own,
                IpAddr::V6(_) => false,
            },
            Kind::Pattern => {
                let pattern = Pattern::new(&self.text, Some('\\'), Collation::Bin);
                pattern.matches(&address.to_string(), Collation::Bin)
            }
        }
    }

    /// Sorts hosts as MySQL does, the most specific first: an address, localhost, networks by the
    /// length of their mask, patterns by what stands before their first wildcard.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let (class, length) = match self.kind {
            Kind::Address(_) => (0, 0),
            Kind::Localhost => (1, 0),
            Kind::Network { mask, .. } => (2, mask.count_ones() as usize),
            Kind::Pattern => (3, self.text.find(['%', '_']).unwrap_or(self.text.len())),
        };
        (class, Reverse(length), self.text.clone())
    }
}

fn kind_of(text: &str) -> Option<Kind> {
    if text == "localhost" {
        return Some(Kind::Localhost);
    }
    if let Some((address, mask)) = text.split_once('/') {
        let address = address.parse::<Ipv4Addr>().ok()?.to_bits();
        let mask = match mask.parse::<Ipv4Addr>() {
            Ok(mask) => mask.to_bits(),
            Err(_) => {
                let bits = mask.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
                u32::MAX.checked_shl(32 - bits).unwrap_or(0)
            }
        };
        let is_network = mask.leading_ones() == mask.count_ones() && address & mask == address;
        return is_network.then_some(Kind::Network { address, mask });
    }
    if let Ok(address) = text.parse() {
        return Some(Kind::Address(address));
    }
    let of_addresses = |c: char| c.is_ascii_hexdigit() || ".:%_".contains(c);
    (text.contains(['%', '_']) && text.chars().all(of_addresses)).then_some(Kind::Pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: hosts match the addresses that they mean, and no others.
    #[test]
    fn hosts_match_addresses() {
        let cases: &[(&str, &str, bool)] = &[
            ("%", "10.1.2.3", true),
            ("", "::1", true),
            ("localhost", "127.0.0.1", true),
            ("LOCALHOST", "127.9.9.9", true),
            ("localhost", "::1", true),
            ("localhost", "::ffff:127.0.0.1", true),
            ("localhost", "10.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.1.%", "10.1.2.3", true),
            ("10.1.%", "10.10.2.3", false),
            ("10.1.2._", "10.1.2.3", true),
            ("10.1.2._", "10.1.2.30", false),
            ("10.1.%", "::ffff:10.1.2.3", true),
            ("fe80::%", "fe80::1", true),
            ("FE80::1", "fe80:0::1", true),
            ("192.168.4.0/255.255.252.0", "192.168.7.255", true),
            ("192.168.4.0/255.255.252.0", "192.168.8.0", false),
            ("192.168.4.0/22", "192.168.5.1", true),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "::1", false),
        ];
        for (host, address, expected) in cases {
            let host = Host::parse(host).unwrap_or_else(|error| panic!("{host}: {error}"));
            assert_eq!(host.matches(address.parse().unwrap()), *expected, "{host:?} {address}");
        }
    }

    /// Promise: a host that could match nobody, or whom a name server says, is refused.
    #[test]
    fn other_hosts_are_refused() {
        let refused = [
            "example.com",
            "%.example.com",
            "cafe",
            "10.1.2",
            "10.1.2.3/8",
            "10.0.0.0/255.0.255.0",
            "10.0.0.0/33",
            "::/64",
            "local host",
        ];
        for host in refused {
            let error = Host::parse(host).expect_err(host);
            assert_eq!(error.code.0, 1235, "{host}");
        }
    }

    /// Promise: hosts are sorted from the most specific to the least.
    #[test]
    fn the_most_specific_comes_first() {
        let sorted = [
            "127.0.0.1",
            "localhost",
            "127.0.0.0/24",
            "127.0.0.0/8",
            "127.0.0.%",
            "127.0.0._",
            "127.%",
            "%",
        ];
        let mut hosts: Vec<_> =
            sorted.iter().rev().map(|host| Host::parse(host).unwrap()).collect();
        hosts.sort_by_key(Host::rank);
        let found: Vec<_> = hosts.iter().map(Host::text).collect();
        assert_eq!(found, sorted);
    }
}
