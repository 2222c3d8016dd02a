//! Work that keeps a thread of the runtime, beside its tasks.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs work that takes long or waits for the disk: the other tasks of the thread go elsewhere
/// meanwhile, if the runtime has other threads.
pub(crate) fn beside_tasks<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
