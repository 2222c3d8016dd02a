//! One connection as a state machine: bytes go in, events come out, answers wait to be sent.
//!
//! ```text
//!          SSLRequest ┌► TLS ┐
//!   Greeting ─────────┴──────┴─ login ─► Identifying ─┬─ granted ─► Admitting ─ welcome ─► Idle
//!                                   ▲        ▲        ├─ Switching ─ answer ──┐             │  ▲
//!                     COM_CHANGE_USER│       └────────┼───────────────────────┘     command ▼  │ finish
//!                                   └───────── Idle   └─ Password ─ checked ─► …          Running
//! ```
//!
//! It knows no socket, clock or account. The shell asks [`Connection::next_event`] for what to do,
//! does it, and tells the outcome ([`Connection::identify`], [`Connection::welcome`],
//! [`Connection::finish`] …). A [`Fatal`] ends the connection once what waits is sent.
//!
//! Memory before the login is bounded by [`Settings::login_bytes`], later by
//! [`Settings::max_allowed_packet`]: callers read in steps and take events between them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::auth::{NoRandomness, Plugin, Salt, Secret, Verdict, judge};
use super::command::Command;
use super::compress::{FrameError, Frames};
use super::flags::{Capabilities, Status};
use super::handshake::{
    Answer, FAST_AUTH_OK, Greeting, Login, OFFERED, Response, SEND_PASSWORD, decode_change_user,
    decode_response, encode_switch,
};
use super::packet::{Inbound, Outbound, PacketError};
use super::resultset::{Completion, Results, put_error};
use super::wire::Malformed;
use crate::error::{Code, SqlError};

/// Buffers that grew beyond this are given back when they are empty.
pub const BUFFER_KEPT: usize = 64 << 10;

/// What all connections of a server share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `SELECT version()`. Drivers read the numbers at its front.
    pub version: String,
    /// Whether TLS is offered.
    pub tls: bool,
    /// Whether clients may be asked for files (LOAD DATA LOCAL).
    pub local_files: bool,
    /// Whether compression is offered.
    pub compression: bool,
    /// What accounts usually have: the way to log in that is tried first, and the steps that a
    /// login of a user who does not exist takes.
    pub usual_secret: Secret,
    /// Largest payload of a packet after the login.
    pub max_allowed_packet: usize,
    /// Largest payload of a packet before.
    pub login_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: concat!("5.7.32-Resprout-", env!("CARGO_PKG_VERSION")).into(),
            tls: false,
            local_files: true,
            compression: true,
            usual_secret: Secret::sha2_of("any"),
            max_allowed_packet: 100 << 20,
            login_bytes: 16 << 10,
        }
    }
}

impl Settings {
    fn capabilities(&self) -> Capabilities {
        let mut offered = OFFERED;
        if self.tls {
            offered |= Capabilities::SSL;
        }
        if self.local_files {
            offered |= Capabilities::LOCAL_FILES;
        }
        if self.compression { offered } else { offered.without(Capabilities::COMPRESS) }
    }
}

/// What the shell has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin TLS; bytes of the client are encrypted from here on.
    StartTls,
    /// Look the account up and tell [`Connection::identify`].
    Login(Login),
    /// Compare the password with the account's and tell [`Connection::password_checked`].
    Password(Password),
    /// The password was right: let the user in ([`Connection::welcome`]) or not
    /// ([`Connection::refuse`]).
    Admit,
    /// The password was wrong: the answer waits to be sent, and the connection ends.
    Denied,
    /// A command. Answers go to [`Connection::answers`]; [`Connection::finish`] ends it.
    Command(Command),
}

/// A password as it came. Not printed.
#[derive(PartialEq, Eq)]
pub struct Password(pub Vec<u8>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// Why a connection ends. The answer, if there is one, waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The client did not keep to the protocol.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet of the login is not well formed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A compressed frame is not what it says.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Bytes in the clear stood behind the request for TLS: somebody may have put them there.
    #[error("bytes in the clear behind the request for TLS")]
    ClearBehindTls,
    /// The client is of before MySQL 4.1.
    #[error("a client without protocol 4.1")]
    TooOld,
    /// The system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The one packet of a server that takes nobody in.
#[must_use]
pub fn rejection(error: &SqlError) -> Vec<u8> {
    let mut out = Outbound::default();
    out.packet(|payload| put_error(payload, error, false));
    out.bytes().to_vec()
}

#[derive(Debug)]
enum Phase {
    /// The greeting is written; a login or a request for TLS is due.
    Greeting,
    /// A login came; the shell looks the account up.
    Identifying(Answer),
    /// The client was asked for an answer by another way.
    Switching(Identity, Plugin),
    /// The password itself was asked for.
    AwaitingPassword,
    /// The shell checks the password.
    CheckingPassword,
    /// The shell lets the user in or not.
    Admitting,
    /// A command is due.
    Idle,
    /// The shell runs a command.
    Running,
    /// Nothing is read any more.
    Ended,
}

/// What an account says about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What is kept of the password.
    pub secret: Secret,
    /// Whether the account is for encrypted connections only.
    pub require_tls: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    inbound: Inbound,
    out: Outbound,
    results: Results,
    frames: Option<Frames>,
    phase: Phase,
    salt: Salt,
    encrypted: bool,
    login: Login,
    /// For error texts: where the client is.
    host: String,
    multi_statements: bool,
}

impl Connection {
    /// Greets a client that came from `host`, as connection `number`.
    ///
    /// # Errors
    /// If the system has no randomness for a salt.
    pub fn new(settings: Arc<Settings>, number: u32, host: String) -> Result<Self, NoRandomness> {
        let salt = Salt::draw()?;
        let mut out = Outbound::default();
        let greeting = Greeting {
            version: &settings.version,
            connection: number,
            salt,
            capabilities: settings.capabilities(),
            plugin: settings.usual_secret.plugin(),
        };
        out.packet(|payload| greeting.encode(payload));
        let mut inbound = Inbound::new(settings.login_bytes);
        inbound.expect(out.number());
        Ok(Self {
            settings,
            inbound,
            out,
            results: Results::default(),
            frames: None,
            phase: Phase::Greeting,
            salt,
            encrypted: false,
            login: Login::default(),
            host,
            multi_statements: false,
        })
    }

    /// Who logged in, or is about to.
    #[must_use]
    pub const fn login(&self) -> &Login {
        &self.login
    }

    /// Whether several statements in one query are allowed.
    #[must_use]
    pub const fn multi_statements(&self) -> bool {
        self.multi_statements
    }

    /// Allows several statements in one query, or not (COM_SET_OPTION).
    pub const fn set_multi_statements(&mut self, allowed: bool) {
        self.multi_statements = allowed;
    }

    /// Whether the user is in.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Running)
    }

    /// Whether the client is in the middle of sending something.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.inbound.is_partial() || self.frames.as_ref().is_some_and(|frames| frames.held() > 0)
    }

    /// Most bytes to read at once. Before a request for TLS no byte behind it may be taken from the
    /// socket, as it belongs to TLS.
    #[must_use]
    pub fn read_limit(&self) -> usize {
        match self.phase {
            Phase::Greeting if self.settings.tls && !self.encrypted => self.inbound.missing(),
            _ => usize::MAX,
        }
    }

    /// Bytes of the client that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.inbound.held() + self.frames.as_ref().map_or(0, Frames::held)
    }

    /// Where bytes of the client are appended.
    pub const fn read_buffer(&mut self) -> &mut BytesMut {
        match &mut self.frames {
            Some(frames) => frames.buffer(),
            None => self.inbound.buffer(),
        }
    }

    /// Takes bytes of the client.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.read_buffer().extend_from_slice(bytes);
    }

    /// TLS is up.
    pub const fn encrypted(&mut self) {
        self.encrypted = true;
    }

    /// What is to be sent.
    pub fn to_send(&mut self) -> &[u8] {
        match &mut self.frames {
            Some(frames) => {
                frames.encode(self.out.bytes());
                self.out.sent(BUFFER_KEPT);
                frames.bytes()
            }
            None => self.out.bytes(),
        }
    }

    /// All of it was sent.
    pub fn sent(&mut self) {
        match &mut self.frames {
            Some(frames) => frames.sent(BUFFER_KEPT),
            None => self.out.sent(BUFFER_KEPT),
        }
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Where a running command writes its results.
    pub const fn answers(&mut self) -> (&mut Results, &mut Outbound) {
        (&mut self.results, &mut self.out)
    }

    /// What is to be done next; none if more bytes are needed, or the shell has something to tell
    /// first.
    ///
    /// # Errors
    /// If the connection has to end.
    pub fn next_event(&mut self) -> Result<Option<Event>, Fatal> {
        let event = self.try_next();
        if let Err(fatal) = &event {
            self.phase = Phase::Ended;
            self.explain(fatal);
        }
        event
    }

    fn try_next(&mut self) -> Result<Option<Event>, Fatal> {
        let due = matches!(
            self.phase,
            Phase::Greeting | Phase::Switching(..) | Phase::AwaitingPassword | Phase::Idle
        );
        if !due {
            return Ok(None);
        }
        let Some(payload) = self.next_packet()? else { return Ok(None) };
        self.out.expect(self.inbound.number());
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Greeting => self.on_response(&payload).map(Some),
            Phase::Switching(identity, plugin) => Ok(self.judge(identity, Some(plugin), &payload)),
            Phase::AwaitingPassword => {
                self.phase = Phase::CheckingPassword;
                let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
                Ok(Some(Event::Password(Password(payload[..end].to_vec()))))
            }
            _ => self.on_command(payload).map(Some),
        }
    }

    fn next_packet(&mut self) -> Result<Option<Bytes>, Fatal> {
        loop {
            if let Some(payload) = self.inbound.next_packet()? {
                return Ok(Some(payload));
            }
            let Some(frames) = &mut self.frames else { return Ok(None) };
            if !frames.decode_one(self.inbound.buffer())? {
                return Ok(None);
            }
        }
    }

    /// The next bytes of a file that the client was asked for, as they come; empty at its end.
    ///
    /// # Errors
    /// If the connection has to end.
    pub fn next_of_file(&mut self) -> Result<Option<Bytes>, Fatal> {
        let next = loop {
            match self.inbound.next_streamed() {
                Err(error) => break Err(error.into()),
                Ok(Some(piece)) => break Ok(Some(piece)),
                Ok(None) => {}
            }
            let Some(frames) = &mut self.frames else { break Ok(None) };
            match frames.decode_one(self.inbound.buffer()) {
                Ok(true) => {}
                Ok(false) => break Ok(None),
                Err(error) => break Err(error.into()),
            }
        };
        if let Err(fatal) = &next {
            self.phase = Phase::Ended;
            self.explain(fatal);
        }
        self.out.expect(self.inbound.number());
        next
    }

    /// Asks the client for a file.
    pub fn ask_for_file(&mut self, name: &[u8]) {
        self.out.packet(|payload| {
            payload.extend_from_slice(&[0xFB]);
            payload.extend_from_slice(name);
        });
        self.inbound.expect(self.out.number());
    }

    fn on_response(&mut self, payload: &[u8]) -> Result<Event, Fatal> {
        let mut offered = self.settings.capabilities();
        if self.encrypted {
            offered = offered.without(Capabilities::SSL);
        }
        match decode_response(payload, offered)? {
            Response::TooOld => Err(Fatal::TooOld),
            Response::Tls if self.inbound.is_partial() => Err(Fatal::ClearBehindTls),
            Response::Tls => {
                self.phase = Phase::Greeting;
                Ok(Event::StartTls)
            }
            Response::Login(found) => {
                let (login, answer) = *found;
                self.multi_statements = login.capabilities.contains(Capabilities::MULTI_STATEMENTS);
                self.results.deprecate_eof =
                    login.capabilities.contains(Capabilities::DEPRECATE_EOF);
                Ok(self.on_login(login, answer))
            }
        }
    }

    fn on_login(&mut self, login: Login, answer: Answer) -> Event {
        self.login = login.clone();
        self.phase = Phase::Identifying(answer);
        Event::Login(login)
    }

    fn on_command(&mut self, payload: Bytes) -> Result<Event, Fatal> {
        self.phase = Phase::Running;
        let command = match Command::decode(payload) {
            Ok(command) => command,
            // The packet was whole, so the next one can be found: an answer is enough.
            Err(_) => Command::Unknown(0),
        };
        match command {
            Command::ChangeUser(payload) => {
                let (login, answer) = decode_change_user(&payload, self.login.capabilities)?;
                Ok(self.on_login(login, answer))
            }
            command => Ok(Event::Command(command)),
        }
    }

    /// The account that a login names, or none. Gives what follows; nothing if the client has to
    /// answer again.
    ///
    /// # Errors
    /// If the system has no randomness.
    ///
    /// # Panics
    /// If no login waits for it.
    pub fn identify(&mut self, identity: Option<Identity>) -> Result<Option<Event>, Fatal> {
        let Phase::Identifying(answer) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            panic!("no login waits for its account")
        };
        let identity = match identity {
            Some(identity) => identity,
            None => Identity { secret: self.settings.usual_secret.decoy()?, require_tls: false },
        };
        Ok(self.judge(identity, Plugin::named(&answer.plugin), &answer.bytes))
    }

    fn judge(
        &mut self,
        identity: Identity,
        plugin: Option<Plugin>,
        answer: &[u8],
    ) -> Option<Event> {
        self.login.has_password = !matches!(answer, [] | [0]);
        match judge(identity.secret, plugin, &self.salt, answer) {
            Verdict::Granted if identity.require_tls && !self.encrypted => {
                Some(match identity.secret {
                    // A right password looks like a wrong one, which cannot be checked here.
                    Secret::Salted | Secret::Remembered(_) => self.deny_in_the_clear(),
                    Secret::Empty | Secret::Hashes { .. } => self.deny(),
                })
            }
            Verdict::Granted => {
                if plugin == Some(Plugin::Sha2) && self.login.has_password {
                    self.out.packet(|payload| payload.extend_from_slice(&FAST_AUTH_OK));
                }
                self.phase = Phase::Admitting;
                Some(Event::Admit)
            }
            Verdict::Denied => Some(self.deny()),
            Verdict::Switch(plugin) => {
                // The same salt: of the connectors, some answer a later COM_CHANGE_USER by the salt
                // of the greeting, others by that of the last switch.
                self.out.packet(|payload| encode_switch(plugin, &self.salt, payload));
                self.inbound.expect(self.out.number());
                self.phase = Phase::Switching(identity, plugin);
                None
            }
            Verdict::AskPassword if self.encrypted => {
                self.out.packet(|payload| payload.extend_from_slice(&SEND_PASSWORD));
                self.inbound.expect(self.out.number());
                self.phase = Phase::AwaitingPassword;
                None
            }
            // Never asked for in the clear (S04). Nobody is told whether there is such a user (S02).
            Verdict::AskPassword => Some(self.deny_in_the_clear()),
        }
    }

    /// Whether the password that came was the account's.
    ///
    /// # Panics
    /// If no password was given out to be checked.
    pub fn password_checked(&mut self, right: bool) -> Event {
        assert!(matches!(self.phase, Phase::CheckingPassword), "no password was given out");
        if right {
            self.phase = Phase::Admitting;
            return Event::Admit;
        }
        self.deny()
    }

    fn deny(&mut self) -> Event {
        let error = self.denial();
        self.refuse(&error);
        Event::Denied
    }

    fn deny_in_the_clear(&mut self) -> Event {
        let error = self.denial();
        let text = format!("{}; this password can be checked over TLS only", error.text);
        self.refuse(&SqlError::new(error.code, text));
        Event::Denied
    }

    fn denial(&self) -> SqlError {
        let used = if self.login.has_password { "YES" } else { "NO" };
        let text = format!(
            "Access denied for user '{}'@'{}' (using password: {used})",
            self.login.user, self.host
        );
        SqlError::new(Code::ACCESS_DENIED, text)
    }

    /// Lets the user in: commands may follow.
    ///
    /// # Panics
    /// If nobody waits to be let in.
    pub fn welcome(&mut self) {
        assert!(matches!(self.phase, Phase::Admitting), "nobody waits to be let in");
        self.results.status = Status::default();
        self.results.ok(&mut self.out, Completion::default());
        self.finish();
        self.inbound.set_limit(self.settings.max_allowed_packet);
    }

    /// Compression begins behind the OK of the login, once that was sent.
    pub fn begin_compression(&mut self) {
        let wanted = self.login.capabilities.contains(Capabilities::COMPRESS);
        if wanted && self.frames.is_none() {
            self.frames = Some(Frames::new(std::mem::take(self.inbound.buffer())));
        }
    }

    /// Ends the connection with an error.
    pub fn refuse(&mut self, error: &SqlError) {
        // Nobody asked: it is found as the answer to whatever the client says next.
        if matches!(self.phase, Phase::Idle) {
            self.out.expect(1);
        }
        // Before the first login nothing is known of the client, so there is no SQLSTATE.
        let with_state = self.login.capabilities.contains(Capabilities::PROTOCOL_41);
        self.out.packet(|payload| put_error(payload, error, with_state));
        self.phase = Phase::Ended;
    }

    /// The session is as it was at first (COM_RESET_CONNECTION).
    pub fn reset(&mut self) {
        self.results.status = Status::default();
        self.multi_statements = self.login.capabilities.contains(Capabilities::MULTI_STATEMENTS);
    }

    /// The command has ended: the last result is written, and the next command may come.
    pub fn finish(&mut self) {
        self.results.finish(&mut self.out);
        if !matches!(self.phase, Phase::Ended) {
            self.phase = Phase::Idle;
        }
        self.inbound.expect(0);
        self.inbound.shrink(BUFFER_KEPT);
    }

    /// A new exchange begins with the client's next bytes; call it after sending.
    pub const fn restart_frames(&mut self) {
        if let Some(frames) = &mut self.frames {
            frames.restart();
        }
    }

    /// Tells the client why, where that is of use.
    fn explain(&mut self, fatal: &Fatal) {
        let error = match fatal {
            Fatal::Packet(PacketError::OutOfOrder { .. })
            | Fatal::Frame(FrameError::OutOfOrder { .. }) => Code::PACKETS_OUT_OF_ORDER,
            Fatal::Packet(PacketError::TooLarge { .. }) => Code::PACKET_TOO_LARGE,
            Fatal::Frame(FrameError::Damaged) => Code::UNCOMPRESS_ERROR,
            Fatal::Malformed(_) if self.is_login_known() => Code::MALFORMED_PACKET,
            Fatal::Malformed(_) | Fatal::NoRandomness(_) => Code::BAD_HANDSHAKE,
            Fatal::TooOld => Code::AUTH_NOT_SUPPORTED,
            // It could be an answer to whoever put the bytes there.
            Fatal::ClearBehindTls => return,
        };
        if let Fatal::Packet(_) | Fatal::Frame(_) = fatal {
            self.out.expect(self.inbound.number().wrapping_add(1));
        }
        self.refuse(&SqlError::plain(error));
    }

    const fn is_login_known(&self) -> bool {
        self.login.capabilities.0 != 0
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
