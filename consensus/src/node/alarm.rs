//! Telling operators what they should know, once and not with every message.

use std::time::Duration;

use crate::{Alarm, NodeId};

/// The same alarm is told again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Different alarms remembered; with more, old ones are told again.
const REMEMBERED_MAX: usize = 64;

/// Alarms told lately.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    told: Vec<(Alarm, Duration)>,
}

impl Alarms {
    pub(super) fn raise(&mut self, alarm: &Alarm, own: NodeId, now: Duration) {
        self.told.retain(|(_, at)| *at + AGAIN > now);
        if self.told.iter().any(|(told, _)| told == alarm) {
            return;
        }
        if self.told.len() == REMEMBERED_MAX {
            self.told.remove(0);
        }
        self.told.push((*alarm, now));
        match alarm {
            Alarm::StrangeStore { node, expected, found } if *node == own => tracing::error!(
                node = %own, %expected, %found,
                "the others know this node with another data directory; remove the member and add \
                 it anew"
            ),
            Alarm::StrangeStore { node, expected, found } => tracing::error!(
                node = %own, member = %node, %expected, %found,
                "a member has come back with another data directory and is not listened to; remove \
                 it and add it anew"
            ),
            Alarm::Forgot { node, acknowledged, has } => tracing::error!(
                node = %own, member = %node, %acknowledged, %has,
                "a member has less than it had acknowledged and does not count any more; remove it \
                 and add it anew with an empty directory"
            ),
            Alarm::Unsound { node } => tracing::error!(
                node = %own, member = %node,
                "a member sent what no member may send; it was dropped"
            ),
            Alarm::Refused { by, why } => {
                tracing::error!(node = %own, member = %by, ?why, "refused by the others");
            }
        }
    }
}
