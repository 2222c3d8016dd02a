//! What copies ask of the control plane: passed on to the master aggregator. What is lost on the way, copies ask
//! again.

use resprout_cluster::control::Control;
use resprout_cluster::reconcile::CopyName;
use resprout_cluster::{Instance, NodeId, Ordinal};
use resprout_replication::driver::Authority;
use resprout_replication::{Partition, Report, Request};

use crate::post::Post;
use crate::state::Shared;

/// Passes on.
#[derive(Debug)]
pub(crate) struct Passing {
    /// Says who the master aggregator is.
    pub(crate) metadata: Shared,
    /// To it.
    pub(crate) post: Post,
}

impl Passing {
    fn send(&self, control: Control) {
        let holder: Option<NodeId> = self.metadata.read().office().holder;
        if let Some(holder) = holder {
            self.post.send(holder, control);
        }
    }

    /// The copy that is master by the record here: who asks is master by what it knows.
    fn asks(&self, partition: Partition) -> Option<Instance> {
        self.metadata.read().master_of(partition.database, Ordinal(partition.ordinal))
    }
}

fn name(partition: Partition, instance: Instance) -> CopyName {
    CopyName { database: partition.database, ordinal: Ordinal(partition.ordinal), instance }
}

impl Authority for Passing {
    fn request(&self, partition: Partition, request: Request) {
        let copy = name(partition, self.asks(partition).unwrap_or(request.instance));
        self.send(Control::Requested { copy, request });
    }

    fn report(&self, partition: Partition, report: Report) {
        let copy = name(partition, report.instance);
        self.send(Control::Reported { copy, report });
    }
}
