//! temporary
use crate::{Event, PageWork};
use resprout_engine::StoredCopy;
#[derive(Debug, Default)]
pub(super) struct Images;
impl Images {
    pub(super) fn carry_out(
        &mut self,
        _stored: &StoredCopy,
        _work: PageWork,
    ) -> Result<Vec<Event>, resprout_engine::Error> {
        Ok(Vec::new())
    }
}
