//! The node's log on stderr: plain lines on a terminal, JSON lines elsewhere.
//!
//! JSON keys are `ts level event msg` and those of the event; `ts` is RFC 3339 in UTC.

use std::fmt;
use std::io;

use clap::ValueEnum;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::output;

/// Shape of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One sentence per line.
    Text,
    /// One JSON object per line.
    Json,
}

impl Format {
    fn is_json(self) -> bool {
        match self {
            Self::Auto => !output::is_watched(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Starts logging, once per process.
///
/// # Errors
/// If `level` is not a filter such as `info` or `warn,resprout_wal=debug`.
pub fn start(format: Format, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = builder.event_format(Shape { is_json: format.is_json() }).try_init();
    started.map_err(|error| error.to_string())
}

struct Shape {
    is_json: bool,
}

impl<S, N> FormatEvent<S, N> for Shape
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level();
        if self.is_json {
            let mut ts = String::new();
            SystemTime.format_time(&mut Writer::new(&mut ts))?;
            return writeln!(out, "{}", fields.json(ts, level.as_str()));
        }
        writeln!(out, "{level:>5} {}", fields.text())
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// In the order in which they were given.
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Keys keep their order, so that lines read alike.
    fn json(self, ts: String, level: &str) -> String {
        let head = [("ts", ts.into()), ("level", level.to_lowercase().into())];
        let all = head.into_iter().chain(self.others).chain([("msg", self.message.into())]);
        let pairs: Vec<String> = all
            .map(|(key, value): (&str, Value)| format!("{}:{value}", Value::from(key)))
            .collect();
        format!("{{{}}}", pairs.join(","))
    }

    /// The sentence, then what it does not already say.
    fn text(self) -> String {
        if let Some(step) = self.step() {
            return step;
        }
        let mut text = self.message;
        for (name, value) in self.others {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if name != "event" && !text.contains(&shown) {
                text.push_str(&format!(" {name}={shown}"));
            }
        }
        text
    }

    /// A partition's step from one state to the next, as operators know it.
    fn step(&self) -> Option<String> {
        let word = |name: &str| {
            let field = self.others.iter().find(|(known, _)| *known == name);
            field.and_then(|(_, value)| value.as_str())
        };
        let (partition, from, to) = (word("partition")?, word("from")?, word("to")?);
        let cause = word("cause").map_or(String::new(), |cause| format!(" ({cause})"));
        Some(format!("partition {partition} {from} -> {to}{cause}"))
    }

    fn note(&mut self, field: &Field, value: Value) {
        self.others.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.note(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.note(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: JSON lines carry time, level, event and message under their documented keys.
    #[test]
    fn json_keys_are_those_of_the_contract() {
        let mut fields = Fields { message: "recovery node done".into(), ..Fields::default() };
        fields.others.push(("event", "recovery.done".into()));
        let json = fields.json("2026-01-01T00:00:00Z".into(), "INFO");
        assert_eq!(
            json,
            r#"{"ts":"2026-01-01T00:00:00Z","level":"info","event":"recovery.done","msg":"recovery node done"}"#
        );
    }

    /// Promise: a step between states is one sentence with its cause.
    #[test]
    fn a_step_is_a_sentence() {
        let mut fields = Fields { message: "state".into(), ..Fields::default() };
        for (name, value) in
            [("partition", "demo:3"), ("from", "RECOVERING"), ("to", "PENDING"), ("cause", "done")]
        {
            fields.others.push((name, value.into()));
        }
        assert_eq!(fields.text(), "partition demo:3 RECOVERING -> PENDING (done)");
    }

    /// Promise: a text line does not repeat what its sentence says already.
    #[test]
    fn text_does_not_repeat_itself() {
        let mut fields = Fields { message: "partition demo:3 ONLINE".into(), ..Fields::default() };
        fields.others.push(("partition", "demo:3".into()));
        fields.others.push(("errno", 28.into()));
        assert_eq!(fields.text(), "partition demo:3 ONLINE errno=28");
    }
}
