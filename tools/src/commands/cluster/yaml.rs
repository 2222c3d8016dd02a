//! Reading YAML with places: whatever is wrong is told with line and column, and an unknown key with the nearest
//! known one.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::failure::{Exit, Failure};
use crate::node::config::suggestion;

/// A document, and what it is called in errors.
pub(super) struct Document<'a> {
    name: &'a str,
    root: MarkedYaml<'a>,
}

/// One node of a document.
#[derive(Clone, Copy)]
pub(super) struct Item<'a, 'b> {
    name: &'b str,
    node: &'b MarkedYaml<'a>,
}

impl<'a> Document<'a> {
    /// # Errors
    /// If it is no YAML, or not one document.
    pub(super) fn read(name: &'a str, text: &'a str) -> Result<Self, Failure> {
        let mut all = MarkedYaml::load_from_str(text).map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            let why = format!("{name}:{line}:{column}: {}", error.info());
            Failure::new("cannot read the cluster file", why, "write it as YAML")
                .exiting(Exit::Usage)
        })?;
        match (all.pop(), all.is_empty()) {
            (Some(root), true) => Ok(Self { name, root }),
            _ => {
                let why = format!("{name}: it does not have one document");
                let fix = "begin with hosts:, see docs/operating.md";
                Err(Failure::new("cannot read the cluster file", why, fix).exiting(Exit::Usage))
            }
        }
    }

    pub(super) fn root(&self) -> Item<'a, '_> {
        Item { name: self.name, node: &self.root }
    }
}

impl<'a, 'b> Item<'a, 'b> {
    /// Something is wrong here.
    pub(super) fn wrong(&self, what: &str, fix: &str) -> Failure {
        let (line, column) = (self.node.span.start.line(), self.node.span.start.col() + 1);
        let why = format!("{}:{line}:{column}: {what}", self.name);
        Failure::new("cannot use the cluster file", why, fix).exiting(Exit::Usage)
    }

    /// Keys and values of a map whose keys are among `known`; any, if none are.
    ///
    /// # Errors
    /// If it is no map, or has another key.
    pub(super) fn map(&self, what: &str, known: &[&str]) -> Result<Vec<(String, Self)>, Failure> {
        let YamlData::Mapping(map) = &self.node.data else {
            return Err(self.wrong(&format!("{what} is no map"), "write keys and values"));
        };
        let mut entries = Vec::new();
        for (key, value) in map {
            let key = Self { name: self.name, node: key };
            let text = key.text("a key")?;
            if !known.is_empty() && !known.contains(&&*text) {
                let fix = suggestion(&text, known.iter().copied());
                return Err(key.wrong(&format!("unknown key '{text}' of {what}"), &fix));
            }
            entries.push((text, Self { name: self.name, node: value }));
        }
        Ok(entries)
    }

    /// The items of a list.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn list(&self, what: &str) -> Result<Vec<Self>, Failure> {
        let YamlData::Sequence(items) = &self.node.data else {
            return Err(self.wrong(&format!("{what} is no list"), "begin each item with a dash"));
        };
        Ok(items.iter().map(|node| Self { name: self.name, node }).collect())
    }

    /// A scalar as text.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn text(&self, what: &str) -> Result<String, Failure> {
        match &self.node.data {
            YamlData::Value(Scalar::String(text)) => Ok(text.to_string()),
            YamlData::Value(Scalar::Integer(number)) => Ok(number.to_string()),
            YamlData::Value(Scalar::Boolean(truth)) => Ok(truth.to_string()),
            YamlData::Value(Scalar::Null) => Ok(String::new()),
            _ => Err(self.wrong(&format!("{what} is no text"), "write it in quotes")),
        }
    }

    /// A text that YAML does not take for anything else.
    ///
    /// # Errors
    /// If it is a number, or anything but text.
    pub(super) fn exact_text(&self, what: &str) -> Result<String, Failure> {
        match &self.node.data {
            YamlData::Value(Scalar::String(text)) => Ok(text.to_string()),
            _ => Err(self.wrong(&format!("{what} is no text"), "write it in quotes")),
        }
    }

    /// Yes or no, in any of the words for it.
    ///
    /// # Errors
    /// If it is another word.
    pub(super) fn truth(&self, what: &str) -> Result<bool, Failure> {
        match self.text(what)?.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" => Ok(true),
            "false" | "off" | "no" => Ok(false),
            other => Err(self.wrong(&format!("{what} is '{other}'"), "write true or false")),
        }
    }

    /// One of these words, in whatever letters.
    ///
    /// # Errors
    /// If it is another.
    pub(super) fn one_of(
        &self,
        what: &str,
        words: &[&'static str],
    ) -> Result<&'static str, Failure> {
        let text = self.text(what)?;
        let found = words.iter().find(|word| word.eq_ignore_ascii_case(&text));
        found.copied().ok_or_else(|| {
            let fix = format!("write one of {}", words.join(", "));
            self.wrong(&format!("{what} is '{text}'"), &fix)
        })
    }

    /// A number that fits.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn number<N: std::str::FromStr>(&self, what: &str) -> Result<N, Failure> {
        let text = self.text(what)?;
        text.parse().map_err(|_| {
            self.wrong(&format!("{what} is '{text}'"), "write a whole number that is possible")
        })
    }
}
