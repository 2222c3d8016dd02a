//! The node's values of variables, and what depends on them.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use resprout_engine::table::Value;
use resprout_engine::{Engine, Tuning};

use super::{Form, Given, Initial, Reach, VARIABLES, Values, Variable};
use crate::error::SqlError;
use crate::place::Directory;
use crate::server::{Limits, Options, Times};

/// The node's values.
#[derive(Debug)]
pub(crate) struct Globals {
    /// The values at the start.
    initial: Values,
    /// Those that were set.
    set: RwLock<Values>,
    /// Who knows those of the cluster, on a node of one.
    cluster: Option<Arc<dyn Directory>>,
}

impl Globals {
    /// As a server and an engine are configured.
    pub(crate) fn new(options: &Options, engine: &Engine) -> Self {
        let seconds = |time: Duration| Value::UInt(time.as_secs());
        let count = |count: usize| Value::UInt(count as u64);
        let tuning = engine.tuning();
        let configured = |name: &str| match name {
            "interactive_timeout" | "wait_timeout" => seconds(options.idle_timeout),
            "net_read_timeout" => seconds(options.read_timeout),
            "net_write_timeout" => seconds(options.write_timeout),
            "max_allowed_packet" => count(options.protocol.max_allowed_packet),
            "max_connections" => count(options.max_connections),
            "innodb_lock_wait_timeout" | "lock_wait_timeout" => seconds(engine.lock_wait_limit()),
            "maximum_memory" => Value::UInt(tuning.maximum_memory),
            "snapshot_trigger_size" => Value::UInt(tuning.snapshot_trigger_size),
            "snapshots_to_keep" => count(tuning.snapshots_to_keep),
            "require_secure_transport" => Value::Int(options.require_secure_transport.into()),
            "recovery_time_target" => tuning.recovery_time_target.map_or(Value::UInt(0), seconds),
            other => unreachable!("{other} is configured nowhere"),
        };
        let initial = |variable: &Variable| match variable.initial {
            Initial::Configured => configured(variable.name),
            _ => variable.initial(),
        };
        let initial: Values = VARIABLES.iter().map(|one| (one.name, initial(one))).collect();
        Self { set: RwLock::default(), initial, cluster: None }
    }

    /// The same on a node of a cluster.
    pub(crate) fn in_cluster(self, cluster: Option<Arc<dyn Directory>>) -> Self {
        Self { cluster, ..self }
    }

    /// Who knows those of the cluster.
    pub(crate) fn cluster(&self) -> Option<&Arc<dyn Directory>> {
        self.cluster.as_ref()
    }

    /// A variable of the cluster, on a node of one.
    fn of_cluster(&self, variable: &Variable) -> Option<Value> {
        let cluster = self.cluster.as_ref().filter(|_| variable.reach == Reach::Cluster)?;
        let text = Value::Text(cluster.variable(variable.name)?);
        let value = match variable.form {
            Form::Number(..) => Value::UInt(text.to_string().parse().ok()?),
            _ => text,
        };
        Some(variable.convert(&value).ok()?.value)
    }

    /// Those that were set.
    fn read(&self) -> RwLockReadGuard<'_, Values> {
        // Each change is one assignment.
        self.set.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A variable's value.
    pub(crate) fn get(&self, variable: &Variable) -> Value {
        if let Some(value) = self.of_cluster(variable) {
            return value;
        }
        let set = self.read().get(variable.name).cloned();
        set.unwrap_or_else(|| self.initial(variable))
    }

    /// A variable's value at the start.
    pub(crate) fn initial(&self, variable: &Variable) -> Value {
        self.initial.get(variable.name).cloned().unwrap_or(Value::Null)
    }

    /// What a new session begins with, where it is not what the node began with.
    pub(crate) fn of_sessions(&self) -> Values {
        let own = |name: &str| Variable::named(name).is_some_and(Variable::is_of_sessions);
        self.read().iter().filter(|(name, _)| own(name)).map(|(n, v)| (*n, v.clone())).collect()
    }

    /// Sets a variable that may be set. Whether the value had to be brought within its bounds.
    ///
    /// # Errors
    /// 1231, 1232.
    pub(crate) fn set(
        &self,
        engine: &Engine,
        variable: &Variable,
        given: &Given,
    ) -> Result<bool, SqlError> {
        let (value, clamped) = match given {
            Given::Default => (self.initial(variable), false),
            Given::Value(given) => {
                let converted = variable.convert(given)?;
                (converted.value, converted.clamped)
            }
        };
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        if let Value::UInt(number) = value {
            engine
                .tune(|tuning| tune(tuning, variable.name, number))
                .map_err(|_| variable.wrong_value(&value))?;
        }
        // The two names of one setting.
        for twin in twins(variable.name) {
            set.insert(twin, value.clone());
        }
        Ok(clamped)
    }

    /// Most sessions of an account without a limit of its own; 0 if there is none.
    pub(crate) fn sessions_of_each(&self) -> u32 {
        let most = whole(&self.read(), "max_user_connections").unwrap_or(0);
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// How many clients may come, and how large their packets may be.
    pub(crate) fn limits(&self) -> Limits {
        let set = self.read();
        let count = |name| Some(usize::try_from(whole(&set, name)?).unwrap_or(usize::MAX));
        Limits {
            connections: count("max_connections"),
            packet_bytes: count("max_allowed_packet"),
            require_secure_transport: set
                .get("require_secure_transport")
                .map(|on| *on != Value::Int(0)),
        }
    }
}

fn tune(tuning: &mut Tuning, name: &str, number: u64) {
    match name {
        "maximum_memory" => tuning.maximum_memory = number,
        "snapshot_trigger_size" => tuning.snapshot_trigger_size = number,
        "snapshots_to_keep" => {
            tuning.snapshots_to_keep = usize::try_from(number).unwrap_or(usize::MAX);
        }
        "recovery_time_target" => {
            tuning.recovery_time_target = (number > 0).then(|| Duration::from_secs(number));
        }
        _ => {}
    }
}

/// The names of the setting that has this name.
pub(crate) fn twins(name: &'static str) -> Vec<&'static str> {
    match name {
        "innodb_lock_wait_timeout" | "lock_wait_timeout" => {
            vec!["innodb_lock_wait_timeout", "lock_wait_timeout"]
        }
        name => vec![name],
    }
}

fn whole(values: &Values, name: &str) -> Option<u64> {
    match values.get(name) {
        Some(Value::UInt(number)) => Some(*number),
        _ => None,
    }
}

fn seconds(values: &Values, name: &str) -> Option<Duration> {
    whole(values, name).map(Duration::from_secs)
}

/// How long a session for which these were set may take over things.
pub(crate) fn times(values: &Values) -> Times {
    Times {
        idle: seconds(values, "wait_timeout"),
        read: seconds(values, "net_read_timeout"),
        write: seconds(values, "net_write_timeout"),
    }
}

/// How long a SELECT of a session for which these were set may take.
pub(crate) fn execution_time(values: &Values) -> Option<Duration> {
    whole(values, "max_execution_time").filter(|time| *time > 0).map(Duration::from_millis)
}

/// How long a session for which these were set waits for a row's lock.
pub(crate) fn lock_wait(values: &Values) -> Option<Duration> {
    seconds(values, "lock_wait_timeout")
}
