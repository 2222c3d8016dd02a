//! How many lines about one thing a log can bear.

use std::time::Duration;

use tokio::time::Instant;

/// So many lines within [`LINES_WITHIN`]; others are only counted.
const LINES_MAX: u32 = 10;
const LINES_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LineLimit {
    window: Option<Instant>,
    lines: u32,
    silenced: u64,
}

impl LineLimit {
    /// Whether there may be a line now; then how many were held back since the last one.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|begun| now - begun > LINES_WITHIN) {
            self.window = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES_MAX {
            self.silenced += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.silenced))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a flood of refusals is ten lines in ten seconds, and the next line says how many
    /// there were.
    #[tokio::test(start_paused = true)]
    async fn n14_lines_are_bounded_and_counted() {
        let mut limit = LineLimit::default();
        let begun = Instant::now();
        let lines = (0..1_000).filter(|_| limit.allow(begun).is_some()).count();
        assert_eq!(lines, LINES_MAX as usize);
        assert_eq!(limit.allow(begun + LINES_WITHIN * 2), Some(990));
        assert_eq!(limit.allow(begun + LINES_WITHIN * 2), Some(0));
    }
}
