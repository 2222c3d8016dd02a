//! From a connection to a session: the greeting, TLS, the password, the limits. The same way is
//! gone again by COM_CHANGE_USER.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::registry::Present;
use super::service::{Account, Opening, Service};
use super::tls::Tls;
use super::wire::{Gone, Stream, Wire};
use crate::error::{Code, SqlError};
use crate::protocol::session::Event;

/// What all connections of a server share.
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) tls: Option<Tls>,
    /// Bounds the slow comparisons of passwords that run at once.
    pub(super) password_checks: Semaphore,
}

/// A login on its way.
pub(super) struct LoggingIn<'a, S: Service> {
    pub(super) shared: &'a Arc<Shared<S>>,
    pub(super) wire: &'a mut Wire,
    pub(super) present: &'a mut Present,
    deadline: Instant,
    account: Option<Account>,
}

impl<'a, S: Service> LoggingIn<'a, S> {
    pub(super) fn new(
        shared: &'a Arc<Shared<S>>,
        wire: &'a mut Wire,
        present: &'a mut Present,
    ) -> Self {
        let deadline = Instant::now() + wire.options.login_timeout;
        Self { shared, wire, present, deadline, account: None }
    }

    /// Goes on, from `event` if one is there, until a session is open.
    pub(super) async fn run(mut self, mut event: Option<Event>) -> Result<S::Session, Gone> {
        loop {
            event = match event {
                None => self.next_event().await?,
                Some(Event::Login(login)) => {
                    self.refuse_in_the_clear()?;
                    let (peer, deadline) = (self.wire.peer, self.deadline);
                    let lookup = self.shared.service.account(&login, peer);
                    let found = tokio::time::timeout_at(deadline, lookup).await;
                    self.account = found.map_err(|_| Gone::Timeout("logging in"))?;
                    let identity = self.account.map(|account| account.identity);
                    self.wire.connection.identify(identity)?
                }
                Some(Event::StartTls) => {
                    self.start_tls().await?;
                    None
                }
                Some(Event::Password(password)) => {
                    let right = self.is_password(&password.0).await?;
                    Some(self.wire.connection.password_checked(right))
                }
                Some(Event::Denied) => {
                    let login = self.wire.connection.login().clone();
                    self.shared.service.denied(&login, self.wire.peer).await;
                    return Err(Gone::Refused);
                }
                Some(Event::Admit) => return self.admit().await,
                Some(Event::Command(_)) => unreachable!("commands come after the login"),
            }
        }
    }

    async fn next_event(&mut self) -> Result<Option<Event>, Gone> {
        let event = self.wire.connection.next_event()?;
        if event.is_none() {
            self.wire.flush().await?;
            self.wire.fill(self.deadline).await?;
        }
        Ok(event)
    }

    async fn start_tls(&mut self) -> Result<(), Gone> {
        let tls = self.shared.tls.as_ref().ok_or(Gone::Refused)?;
        let Stream::Plain(socket) = std::mem::replace(&mut self.wire.stream, Stream::None) else {
            return Err(Gone::Refused);
        };
        let accept = tls.acceptor().accept(socket);
        let accepted = tokio::time::timeout_at(self.deadline, accept).await;
        let stream = accepted.map_err(|_| Gone::Timeout("starting TLS"))?;
        self.wire.stream = Stream::Tls(Box::new(stream.map_err(|_| Gone::Client)?));
        self.wire.connection.encrypted();
        Ok(())
    }

    /// Before the account is looked for: neither user nor password is worth anything here.
    fn refuse_in_the_clear(&mut self) -> Result<(), Gone> {
        let limit = self.shared.service.limits().require_secure_transport;
        let required = limit.unwrap_or(self.wire.options.require_secure_transport);
        if required && !self.wire.is_encrypted() {
            let error = SqlError::plain(Code::SECURE_TRANSPORT_REQUIRED);
            self.wire.connection.refuse(&error);
            return Err(Gone::Refused);
        }
        Ok(())
    }

    async fn is_password(&self, password: &[u8]) -> Result<bool, Gone> {
        let check = async {
            let permit = self.shared.password_checks.acquire().await;
            let _permit = permit.expect("the semaphore is never closed");
            let login = self.wire.connection.login();
            // The account is looked at too: who is nobody is told after as long as anybody.
            let account = self.account.as_ref();
            let right = self.shared.service.is_password(login, account, password).await;
            right && self.account.is_some()
        };
        let checked = tokio::time::timeout_at(self.deadline, check).await;
        checked.map_err(|_| Gone::Timeout("logging in"))
    }

    async fn admit(self) -> Result<S::Session, Gone> {
        let wire = self.wire;
        let extra = usize::from(self.account.is_some_and(|account| account.is_administrator));
        let limit = self.shared.service.limits().connections;
        let most = limit.unwrap_or(wire.options.max_connections).saturating_add(extra);
        if !self.present.take_slot(most) {
            wire.connection.refuse(&SqlError::plain(Code::TOO_MANY_CONNECTIONS));
            return Err(Gone::Refused);
        }
        let login = wire.connection.login().clone();
        wire.entry.logged_in(&login.user, login.database.as_deref());
        let opening = Opening {
            login,
            number: wire.entry.number,
            peer: wire.peer,
            account: self.account.map_or(0, |account| account.number),
            encrypted: wire.is_encrypted(),
            tls_offered: self.shared.tls.is_some(),
            interrupt: wire.entry.interrupt.clone(),
        };
        match self.shared.service.open(opening).await {
            Ok(session) => {
                self.present.logged_in();
                wire.connection.welcome();
                wire.flush().await?;
                wire.connection.begin_compression();
                Ok(session)
            }
            Err(error) => {
                wire.connection.refuse(&error);
                Err(Gone::Refused)
            }
        }
    }
}

/// Small packets must not wait for the acknowledgement of those before.
pub(super) fn prepare_socket(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}
