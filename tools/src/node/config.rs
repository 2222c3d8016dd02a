//! The node's settings: flag, else environment (`RESPROUT_SECTION_KEY`), else file, else default.
//!
//! ```toml
//! data = "/data1/node"                 # the data directory
//! http = "127.0.0.1:8080"              # probes, metrics, status; off unless set
//! sql = "127.0.0.1:3306"               # MySQL clients; or "off"
//! disk = "auto"                        # auto | io_uring | pwritev2
//! attach = true                        # go ONLINE by itself after recovery
//!
//! [memory]
//! maximum = "48GiB"                    # or "85%" of this machine's
//!
//! [tls]
//! certificate = "server.pem"           # chain in PEM form, own first; its own, made at the first start, without
//! key = "server.key"                   # its key, in PEM form
//! require = false                      # whether clients without TLS are refused
//!
//! [durability]
//! snapshot_trigger_size = "2GiB"       # log since the last snapshot that causes the next
//! recovery_time_target = "30s"         # or "off"
//! snapshots_to_keep = 2
//!
//! [log]
//! format = "auto"                      # auto | text | json
//! level = "info"
//! ```
//!
//! With `role` it is a node of a cluster:
//!
//! ```toml
//! role = "leaf"                        # leaf | aggregator
//! listen = "10.0.0.21:3306"            # where clients and other nodes reach it
//! bind = "10.0.0.21"                   # where it listens and connects from, if that is another address
//!
//! [cluster]
//! secret_file = "/etc/resprout/secret" # the same on all nodes
//! consensus_election_timeout = 10000   # milliseconds, the same on all nodes
//! ```
//!
//! A key that is not listed is an error with its line and the nearest one that is: a setting that
//! silently does nothing is worse than a node that does not start.

use std::fmt;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::quantity::{parse_bytes, parse_duration};

/// Every setting: its section (empty for the top level) and its key.
const KEYS: [(&str, &str); 20] = [
    ("", "role"),
    ("", "listen"),
    ("", "bind"),
    ("", "data"),
    ("", "http"),
    ("", "sql"),
    ("", "disk"),
    ("", "attach"),
    ("cluster", "secret_file"),
    ("cluster", "consensus_election_timeout"),
    ("memory", "maximum"),
    ("tls", "certificate"),
    ("tls", "key"),
    ("tls", "require"),
    ("durability", "snapshot_trigger_size"),
    ("durability", "recovery_time_target"),
    ("durability", "snapshots_to_keep"),
    ("log", "format"),
    ("log", "level"),
    ("log", "stuck_after"),
];

/// Of a node that stands alone only.
const ALONE: [&str; 5] = ["sql", "attach", "tls.certificate", "tls.key", "tls.require"];

/// Of a node of a cluster only.
const OF_MEMBERS: [&str; 5] =
    ["role", "listen", "bind", "cluster.secret_file", "cluster.consensus_election_timeout"];

/// What the names of all variables of this program begin with.
const ENVIRONMENT: &str = "RESPROUT";

/// What is wrong with a file or an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `file:line`, or the variable.
    pub place: String,
    /// What.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.hint)
    }
}

/// Where a value came from, for `--check-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key` or `key`.
    pub name: String,
    /// As written.
    pub value: String,
    /// `flag`, the variable's name, or `file:line`.
    pub origin: String,
}

/// All settings that are set somewhere, each from its strongest source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

impl Settings {
    /// What a file says.
    ///
    /// # Errors
    /// The first unknown key, wrong type or syntax error, with its line.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, ConfigError> {
        let reader = Reader { name, text };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reader.error(at, error.message().to_owned(), "write it as TOML")
        })?;
        let mut settings = Self::default();
        for (key, value) in table.get_ref() {
            match value.get_ref() {
                DeValue::Table(section) => reader.section(key, section, &mut settings)?,
                _ => settings.0.push(reader.setting("", key, value)?),
            }
        }
        Ok(settings)
    }

    /// Lets what `variable` answers for each setting's name (`RESPROUT_MEMORY_MAXIMUM`) replace
    /// what the file said.
    pub fn overlay_environment(&mut self, variable: impl Fn(&str) -> Option<String>) {
        for (section, key) in KEYS {
            let parts = [section, key].into_iter().filter(|part| !part.is_empty());
            let name = parts.fold(ENVIRONMENT.to_owned(), |name, part| {
                format!("{name}_{}", part.to_uppercase())
            });
            if let Some(value) = variable(&name) {
                self.set(&full_name(section, key), value, &name);
            }
        }
    }

    /// Sets `name`, replacing a weaker source.
    pub fn set(&mut self, name: &str, value: String, origin: &str) {
        self.0.retain(|setting| setting.name != name);
        self.0.push(Setting { name: name.into(), value, origin: origin.into() });
    }

    /// All, in the order of the documentation.
    #[must_use]
    pub fn listed(&self) -> Vec<&Setting> {
        KEYS.iter().filter_map(|(section, key)| self.find(&full_name(section, key))).collect()
    }

    /// The value of `name` read by `parse`, if it is set.
    ///
    /// # Errors
    /// Where it was set, and what `parse` says is allowed.
    pub fn read<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(setting) = self.find(name) else { return Ok(None) };
        parse(&setting.value).map(Some).map_err(|hint| ConfigError {
            place: setting.origin.clone(),
            what: format!("{name} = '{}' is not possible", setting.value),
            hint,
        })
    }

    /// Whether these are settings of a node of a cluster.
    #[must_use]
    pub fn is_of_member(&self) -> bool {
        self.find("role").is_some()
    }

    /// Refuses what would silently do nothing: settings of a node that stands alone for a node of a cluster, and the
    /// other way round. A variable of the environment may be meant for another node.
    ///
    /// # Errors
    /// The first such setting.
    pub fn check_kind(&self, is_member: bool) -> Result<(), ConfigError> {
        let (others, hint) = match is_member {
            true => (&ALONE[..], "a node of a cluster does not have it; take it out"),
            false => (&OF_MEMBERS[..], "set role = \"leaf\" or \"aggregator\", or take it out"),
        };
        let is_wrong = |setting: &&Setting| {
            others.contains(&&*setting.name) && !setting.origin.starts_with(ENVIRONMENT)
        };
        match self.0.iter().find(is_wrong) {
            None => Ok(()),
            Some(Setting { name, origin, .. }) => Err(ConfigError {
                place: origin.clone(),
                what: format!("{name} is of another kind of node"),
                hint: hint.to_owned(),
            }),
        }
    }

    fn find(&self, name: &str) -> Option<&Setting> {
        self.0.iter().find(|setting| setting.name == name)
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

impl Reader<'_> {
    fn section(
        &self,
        section: &Key<'_>,
        table: &DeTable<'_>,
        settings: &mut Settings,
    ) -> Result<(), ConfigError> {
        let name = section.get_ref().as_ref();
        if !KEYS.iter().any(|(known, _)| *known == name && !known.is_empty()) {
            let sections = KEYS.iter().map(|(section, _)| *section).filter(|s| !s.is_empty());
            let hint = suggestion(name, sections);
            return Err(self.error(
                section.span().start,
                format!("unknown section '{name}'"),
                hint,
            ));
        }
        for (key, value) in table {
            settings.0.push(self.setting(name, key, value)?);
        }
        Ok(())
    }

    fn setting(
        &self,
        section: &str,
        key: &Key<'_>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Setting, ConfigError> {
        let (at, key) = (key.span().start, key.get_ref().as_ref());
        if !KEYS.contains(&(section, key)) {
            let known = KEYS.iter().filter(|(known, _)| *known == section).map(|(_, key)| *key);
            let what = format!("unknown key '{}'", full_name(section, key));
            return Err(self.error(at, what, suggestion(key, known)));
        }
        let name = full_name(section, key);
        let value = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(truth) => truth.to_string(),
            _ => {
                let what = format!("{name} must be a text, a whole number, true or false");
                return Err(self.error(at, what, "see docs/operating.md"));
            }
        };
        Ok(Setting { name, value, origin: self.place(at) })
    }

    fn place(&self, at: usize) -> String {
        let before = self.text.as_bytes().iter().take(at);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.name)
    }

    fn error(&self, at: usize, what: String, hint: impl Into<String>) -> ConfigError {
        ConfigError { place: self.place(at), what, hint: hint.into() }
    }
}

/// Name and section of all settings, as `section.key` or `key`.
pub(crate) fn names() -> impl Iterator<Item = String> {
    KEYS.iter().map(|(section, key)| full_name(section, key))
}

fn full_name(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// `did you mean '…'?` with the nearest of what is known.
pub(crate) fn suggestion<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.min_by_key(|name| distance(found, name));
    nearest.map_or_else(String::new, |name| format!("did you mean '{name}'?"))
}

/// Edit distance of two words (Levenshtein), one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Memory as bytes or as a share of this machine's.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_memory(text: &str, machine_bytes: u64) -> Result<u64, String> {
    let Some(percent) = text.trim().strip_suffix('%') else { return parse_bytes(text) };
    match percent.trim().parse::<u64>() {
        Ok(percent @ 1..=100) => Ok(machine_bytes / 100 * percent),
        _ => Err("write 1% to 100%, or a size such as 48GiB".into()),
    }
}

/// A duration, or `off`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_target(text: &str) -> Result<Option<std::time::Duration>, String> {
    if text.trim() == "off" { Ok(None) } else { parse_duration(text).map(Some) }
}

/// `true` or `false`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_truth(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

/// Any path.
///
/// # Errors
/// An empty one.
pub fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("write a path".into()) } else { Ok(PathBuf::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "data = \"/d\"\n[memory]\nmaximum = \"1GiB\"\n[durability]\nsnapshots_to_keep = 3\n";

    /// Promise: an unknown key is an error with its line and the nearest right key.
    #[test]
    fn unknown_keys_name_the_line_and_the_nearest_key() {
        let error = Settings::from_toml("n.toml", "data = \"/d\"\n[memory]\nmaximun = 3\n")
            .expect_err("a typo");
        assert_eq!(
            error.to_string(),
            "n.toml:3: unknown key 'memory.maximun'; did you mean 'maximum'?"
        );
        let error = Settings::from_toml("n.toml", "[memroy]\nmaximum = 3\n").expect_err("a typo");
        assert_eq!(error.to_string(), "n.toml:1: unknown section 'memroy'; did you mean 'memory'?");
        let error = Settings::from_toml("n.toml", "\n\ndata = = 3\n").expect_err("no TOML");
        assert_eq!(error.place, "n.toml:3");
        let error = Settings::from_toml("n.toml", "data = [1]\n").expect_err("a list");
        assert!(error.what.contains("data must be"), "{error}");
    }

    /// Promise: a flag beats the environment, which beats the file; each value knows its origin.
    #[test]
    fn stronger_sources_win_and_are_named() {
        let mut settings = Settings::from_toml("n.toml", FILE).expect("a good file");
        settings
            .overlay_environment(|name| (name == "RESPROUT_MEMORY_MAXIMUM").then(|| "2GiB".into()));
        settings.set("data", "/flag".into(), "--data");
        let read = |name| settings.find(name).map(|s| (s.value.as_str(), s.origin.as_str()));
        assert_eq!(read("data"), Some(("/flag", "--data")));
        assert_eq!(read("memory.maximum"), Some(("2GiB", "RESPROUT_MEMORY_MAXIMUM")));
        assert_eq!(read("durability.snapshots_to_keep"), Some(("3", "n.toml:5")));
        let names: Vec<_> = settings.listed().iter().map(|s| s.name.clone()).collect();
        assert_eq!(names, ["data", "memory.maximum", "durability.snapshots_to_keep"]);
    }

    /// Promise: what another kind of node has is refused where it is written, and ignored in the environment.
    #[test]
    fn settings_of_another_kind_of_node_are_refused() {
        let read = |text| Settings::from_toml("n.toml", text).expect("good TOML");
        let mut member = read("role = \"leaf\"\nlisten = \"a:1\"\n");
        assert!(member.is_of_member());
        assert_eq!(member.check_kind(true), Ok(()));
        let error = member.check_kind(false).expect_err("not of a node that stands alone");
        assert_eq!((&*error.place, error.what.contains("listen")), ("n.toml:2", true));
        member.overlay_environment(|name| (name == "RESPROUT_SQL").then(|| "off".into()));
        assert_eq!(member.check_kind(true), Ok(()));
        let error = read("role = \"leaf\"\nsql = \"a:1\"\n").check_kind(true);
        assert_eq!(error.expect_err("its SQL is on listen").place, "n.toml:2");
    }

    /// Promise: an impossible value names where it was set and what is allowed.
    #[test]
    fn impossible_values_name_their_origin() {
        let settings =
            Settings::from_toml("n.toml", "[memory]\nmaximum = \"much\"\n").expect("good TOML");
        let error = settings.read("memory.maximum", parse_bytes).expect_err("not a size");
        assert_eq!(error.place, "n.toml:2");
        assert!(error.hint.contains("512MiB"), "{error}");
        assert_eq!(parse_memory("85%", 1000), Ok(850));
        assert!(parse_memory("101%", 1000).is_err());
        assert_eq!(parse_target("off"), Ok(None));
    }
}
