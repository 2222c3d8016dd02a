//! The first packets: the server's greeting, the client's login, and what may go on between them
//! until the password is proven.
//!
//! Session tracking (`CLIENT_SESSION_TRACK`), query attributes and optional metadata are not
//! offered: nothing here would fill them, and clients manage without.

use bytes::{BufMut, BytesMut};

use super::auth::{Plugin, Salt};
use super::flags::{Capabilities, Status};
use super::wire::{Malformed, Reader, put_lenenc_bytes};

/// utf8mb4_general_ci.
pub const UTF8MB4: u16 = 45;
/// Most attributes that are kept of a login; further ones are passed over.
const ATTRIBUTES_MAX: usize = 64;

/// What this server can do whatever its settings are.
pub const OFFERED: Capabilities = Capabilities(
    Capabilities::MYSQL.0
        | Capabilities::FOUND_ROWS.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::COMPRESS.0
        | Capabilities::IGNORE_SPACE.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::INTERACTIVE.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::PLUGIN_AUTH_LENENC.0
        | Capabilities::DEPRECATE_EOF.0,
);

/// The server's first packet.
#[derive(Clone, Debug)]
pub struct Greeting<'a> {
    /// `SELECT version()`.
    pub version: &'a str,
    /// Number of the connection, for KILL.
    pub connection: u32,
    /// What the login must answer.
    pub salt: Salt,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// The way to log in that is tried first.
    pub plugin: Plugin,
}

impl Greeting<'_> {
    /// Appends the payload.
    pub fn encode(&self, out: &mut BytesMut) {
        let (first, second) = self.salt.0.split_at(8);
        out.put_u8(10);
        out.put_slice(self.version.as_bytes());
        out.put_u8(0);
        out.put_u32_le(self.connection);
        out.put_slice(first);
        out.put_u8(0);
        out.put_u16_le(self.capabilities.0 as u16);
        out.put_u8(UTF8MB4 as u8);
        out.put_u16_le(Status::default().0);
        out.put_u16_le((self.capabilities.0 >> 16) as u16);
        out.put_u8(self.salt.0.len() as u8 + 1);
        out.put_bytes(0, 10);
        out.put_slice(second);
        out.put_u8(0);
        out.put_slice(self.plugin.name().as_bytes());
        out.put_u8(0);
    }
}

/// Who wants in, and how the connection is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Name of the user. Bytes that are no UTF-8 are replaced, so no account matches.
    pub user: String,
    /// Database to use, as [`Login::user`].
    pub database: Option<String>,
    /// Number of the collation that the client speaks.
    pub collation: u16,
    /// What client and server both can.
    pub capabilities: Capabilities,
    /// What the client says about itself: `program_name`, `_pid` and such.
    pub attributes: Vec<(String, String)>,
    /// Whether the answer to the salt was not empty.
    pub has_password: bool,
}

/// The answer to the salt that came with a login. Apart from [`Login`], which may be logged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Name of the plugin that made it.
    pub plugin: Vec<u8>,
    /// The answer.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// The client's first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// TLS first, then the login.
    Tls,
    /// A client of before MySQL 4.1.
    TooOld,
    /// The login.
    Login(Box<(Login, Answer)>),
}

/// Bytes of a request for TLS: a login without its names.
const TLS_REQUEST_LEN: usize = 32;

/// Reads the client's first packet, given what was offered.
///
/// # Errors
/// If it is cut off or a length in it lies.
pub fn decode_response(payload: &[u8], offered: Capabilities) -> Result<Response, Malformed> {
    let mut reader = Reader::new(payload);
    let low = u32::from(Reader::new(payload).u16()?);
    if !Capabilities(low).contains(Capabilities::PROTOCOL_41) {
        return Ok(Response::TooOld);
    }
    let theirs = Capabilities(reader.u32()?);
    let _largest_packet = reader.u32()?;
    let collation = u16::from(reader.u8()?);
    reader.bytes(23)?;
    let both = theirs & offered;
    if both.contains(Capabilities::SSL) && payload.len() == TLS_REQUEST_LEN {
        return Ok(Response::Tls);
    }
    let user = text(reader.until_zero_or_end());
    let bytes = if both.contains(Capabilities::PLUGIN_AUTH_LENENC) {
        reader.lenenc_bytes()?
    } else if both.contains(Capabilities::SECURE_CONNECTION) {
        let len = reader.u8()?;
        reader.bytes(usize::from(len))?
    } else {
        reader.until_zero_or_end()
    };
    let database = both.contains(Capabilities::CONNECT_WITH_DB).then(|| database(&mut reader));
    let (plugin, attributes) = plugin_and_attributes(&mut reader, both)?;
    let login = Login {
        user,
        database: database.flatten(),
        collation,
        capabilities: both,
        attributes,
        has_password: !matches!(bytes, [] | [0]),
    };
    Ok(Response::Login(Box::new((login, Answer { plugin, bytes: bytes.to_vec() }))))
}

/// Reads a COM_CHANGE_USER behind its first byte.
///
/// # Errors
/// If it is cut off or a length in it lies.
pub fn decode_change_user(
    payload: &[u8],
    capabilities: Capabilities,
) -> Result<(Login, Answer), Malformed> {
    let mut reader = Reader::new(payload);
    let user = text(reader.until_zero()?);
    let bytes = if capabilities.contains(Capabilities::SECURE_CONNECTION) {
        let len = reader.u8()?;
        reader.bytes(usize::from(len))?
    } else {
        reader.until_zero()?
    };
    let database = database(&mut reader);
    let collation = if reader.is_empty() { UTF8MB4 } else { reader.u16()? };
    let (plugin, attributes) = plugin_and_attributes(&mut reader, capabilities)?;
    let has_password = !matches!(bytes, [] | [0]);
    let login = Login { user, database, collation, capabilities, attributes, has_password };
    Ok((login, Answer { plugin, bytes: bytes.to_vec() }))
}

fn database(reader: &mut Reader<'_>) -> Option<String> {
    Some(text(reader.until_zero_or_end())).filter(|name| !name.is_empty())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

type PluginAndAttributes = (Vec<u8>, Vec<(String, String)>);

/// The end that login and change of user share. It may be missing; what stands behind it is not
/// looked at, since real connectors put things there (row K17).
fn plugin_and_attributes(
    reader: &mut Reader<'_>,
    capabilities: Capabilities,
) -> Result<PluginAndAttributes, Malformed> {
    let plugin = if capabilities.contains(Capabilities::PLUGIN_AUTH) {
        reader.until_zero_or_end().to_vec()
    } else {
        // Who cannot name a way knows only the old one.
        Plugin::Native.name().as_bytes().to_vec()
    };
    let mut attributes = Vec::new();
    if capabilities.contains(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
        let mut list = Reader::new(reader.lenenc_bytes()?);
        while !list.is_empty() {
            let (key, value) = (text(list.lenenc_bytes()?), text(list.lenenc_bytes()?));
            if attributes.len() < ATTRIBUTES_MAX {
                attributes.push((key, value));
            }
        }
    }
    Ok((plugin, attributes))
}

/// Asks for another way to log in.
pub fn encode_switch(plugin: Plugin, salt: &Salt, out: &mut BytesMut) {
    out.put_u8(0xFE);
    out.put_slice(plugin.name().as_bytes());
    out.put_u8(0);
    out.put_slice(&salt.0);
    out.put_u8(0);
}

/// `caching_sha2_password`: the answer was right, an OK follows.
pub const FAST_AUTH_OK: [u8; 2] = [1, 3];
/// `caching_sha2_password`: send the password itself.
pub const SEND_PASSWORD: [u8; 2] = [1, 4];

/// A login as a client writes it. For tests and for nodes that are clients of others.
pub fn encode_login(login: &Login, answer: &Answer, out: &mut BytesMut) {
    out.put_u32_le(login.capabilities.0);
    out.put_u32_le(1 << 24);
    out.put_u8(login.collation as u8);
    out.put_bytes(0, 23);
    out.put_slice(login.user.as_bytes());
    out.put_u8(0);
    if login.capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC) {
        put_lenenc_bytes(out, &answer.bytes);
    } else {
        out.put_u8(answer.bytes.len() as u8);
        out.put_slice(&answer.bytes);
    }
    if login.capabilities.contains(Capabilities::CONNECT_WITH_DB) {
        out.put_slice(login.database.as_deref().unwrap_or("").as_bytes());
        out.put_u8(0);
    }
    if login.capabilities.contains(Capabilities::PLUGIN_AUTH) {
        out.put_slice(&answer.plugin);
        out.put_u8(0);
    }
    if login.capabilities.contains(Capabilities::CONNECT_ATTRS) {
        let mut list = BytesMut::new();
        for (key, value) in &login.attributes {
            put_lenenc_bytes(&mut list, key.as_bytes());
            put_lenenc_bytes(&mut list, value.as_bytes());
        }
        put_lenenc_bytes(out, &list);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Promise: the greeting's bytes stand where the protocol says.
    #[test]
    fn the_greeting_is_laid_out_as_documented() {
        let salt = Salt(*b"abcdefghijklmnopqrst");
        let greeting = Greeting {
            version: "5.7.32",
            connection: 0x0102,
            salt,
            capabilities: OFFERED,
            plugin: Plugin::Native,
        };
        let mut out = BytesMut::new();
        greeting.encode(&mut out);
        let low = (OFFERED.0 as u16).to_le_bytes();
        let high = ((OFFERED.0 >> 16) as u16).to_le_bytes();
        let expected = [
            &b"\x0a5.7.32\0\x02\x01\0\0abcdefgh\0"[..],
            &low,
            &[45, 2, 0],
            &high,
            &[21],
            &[0; 10],
            b"ijklmnopqrst\0mysql_native_password\0",
        ]
        .concat();
        assert_eq!(out, expected);
    }

    /// A login as the mariadb client 10.11 sends it: attributes, plugin, database.
    fn recorded() -> Vec<u8> {
        let capabilities = OFFERED.0.to_le_bytes();
        let attributes = b"\x0c_client_name\x0alibmariadb";
        [
            &capabilities[..],
            &[0, 0, 0, 1, 45],
            &[0; 23],
            b"root\0",
            &[20],
            &[7; 20],
            b"shop\0mysql_native_password\0",
            &[attributes.len() as u8],
            attributes,
        ]
        .concat()
    }

    /// Promise: names, answer, database, plugin, attributes and collation of a login are read, and
    /// what stands behind it is ignored (K17).
    #[test]
    fn k17_a_login_is_read_and_its_tail_ignored() {
        let bytes = [&recorded()[..], b"garbage"].concat();
        let Ok(Response::Login(found)) = decode_response(&bytes, OFFERED) else {
            panic!("a login")
        };
        let (login, answer) = *found;
        assert_eq!((&*login.user, login.database.as_deref()), ("root", Some("shop")));
        assert_eq!((&answer.bytes[..], login.collation), (&[7; 20][..], 45));
        assert_eq!(answer.plugin, b"mysql_native_password");
        assert_eq!(login.attributes, [("_client_name".to_owned(), "libmariadb".to_owned())]);
        assert!(login.has_password);
    }

    /// Promise: a request for TLS is one only where TLS is offered; clients without protocol 4.1
    /// are told apart.
    #[test]
    fn tls_and_old_clients_are_told_apart() {
        let offered = OFFERED | Capabilities::SSL;
        let request = [&offered.0.to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 23]].concat();
        assert_eq!(decode_response(&request, offered), Ok(Response::Tls));
        assert_ne!(decode_response(&request, OFFERED), Ok(Response::Tls));
        assert_eq!(decode_response(&[5, 0, 0, 0, 0], offered), Ok(Response::TooOld));
    }

    /// Promise (K01): a login cut anywhere is an error or a login with less in it, never a panic.
    #[test]
    fn k01_cut_logins_do_not_panic() {
        let bytes = recorded();
        for len in 0..bytes.len() {
            let _any_answer = decode_response(&bytes[..len], OFFERED);
            let _any_answer = decode_change_user(&bytes[..len], OFFERED);
        }
        assert!(decode_response(&bytes[..34], OFFERED).is_err());
    }

    /// Promise: a change of user is read with its answer, database and plugin.
    #[test]
    fn a_change_of_user_is_read() {
        let bytes = b"ann\0\x03abcshop\0\x2d\0mysql_native_password\0";
        let (login, answer) = decode_change_user(bytes, OFFERED).unwrap();
        assert_eq!((&*login.user, login.database.as_deref()), ("ann", Some("shop")));
        assert_eq!((&answer.bytes[..], login.collation), (&b"abc"[..], 45));
        assert!(decode_change_user(b"ann", OFFERED).is_err());
    }

    proptest! {
        /// Promise: a login that was written is read.
        #[test]
        fn logins_come_back(
            user in "[^\0]{0,20}",
            name in "[^\0]{1,20}",
            bytes in proptest::collection::vec(1_u8.., 1..40),
            attributes in proptest::collection::vec((".{0,9}", ".{0,9}"), 0..5),
        ) {
            let login = Login {
                user,
                database: Some(name),
                collation: 45,
                capabilities: OFFERED,
                attributes,
                has_password: true,
            };
            let answer = Answer { plugin: b"caching_sha2_password".to_vec(), bytes };
            let mut out = BytesMut::new();
            encode_login(&login, &answer, &mut out);
            let found = decode_response(&out, OFFERED).unwrap();
            prop_assert_eq!(found, Response::Login(Box::new((login, answer))));
        }

        /// Promise (K01): any bytes are a login or an error.
        #[test]
        fn k01_any_bytes_are_a_login_or_an_error(bytes: Vec<u8>) {
            let _any_answer = decode_response(&bytes, OFFERED);
            let _any_answer = decode_change_user(&bytes, OFFERED);
        }
    }
}
