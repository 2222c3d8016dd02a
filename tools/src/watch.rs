//! Shows how a long command goes on: a bar on a terminal, a line every few seconds elsewhere.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output;
use crate::quantity::{of_total, rough};

/// How progress is shown, always on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// A bar on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// A bar that redraws itself.
    Bar,
    /// A line every five seconds.
    Line,
    /// Nothing.
    None,
}

/// Time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One stage of a command.
#[derive(Debug)]
pub struct Watch {
    what: String,
    total: u64,
    bar: Option<ProgressBar>,
    lines: bool,
    began: Instant,
    told: Instant,
}

impl Watch {
    /// Begins to show a stage of `total` bytes.
    ///
    /// # Panics
    /// Never: the template is a constant that is known to be good.
    #[must_use]
    pub fn new(show: Show, what: &str, total: u64) -> Self {
        let is_bar = show == Show::Bar || (show == Show::Auto && output::is_watched());
        let bar = is_bar.then(|| {
            let style = ProgressStyle::with_template(
                "{prefix:<12} {bar:24} {percent:>3}%  {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}",
            );
            let bar = ProgressBar::new(total).with_prefix(what.to_owned());
            bar.with_style(style.expect("a constant template"))
        });
        let lines = !is_bar && matches!(show, Show::Line | Show::Auto);
        let began = Instant::now();
        Self { what: what.into(), total, bar, lines, began, told: began }
    }

    /// `done` bytes are done.
    pub fn step(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.lines && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            output::talk(self.line(done));
        }
    }

    fn line(&self, done: u64) -> String {
        let percent = u128::from(done) * 100 / u128::from(self.total.max(1));
        let elapsed = self.began.elapsed();
        let left = u128::from(self.total.saturating_sub(done)) * elapsed.as_millis();
        let left = u64::try_from(left / u128::from(done.max(1))).unwrap_or(u64::MAX);
        let (amount, eta) = (of_total(done, self.total), rough(Duration::from_millis(left)));
        format!("{} {percent}% {amount} eta {eta}", self.what)
    }

    /// Ends the stage and takes the bar away.
    pub fn finish(self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.began.elapsed()
    }
}
