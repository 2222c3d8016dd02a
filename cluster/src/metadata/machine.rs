//! The state as consensus carries it.

use bytes::Bytes;
use resprout_consensus::Index;
use resprout_consensus::machine::{RestoreError, StateMachine};

use super::{Decree, Metadata, Outcome, Refusal};

impl StateMachine for Metadata {
    fn apply(&mut self, index: Index, command: &[u8]) -> Bytes {
        let outcome = match Decree::decode(command) {
            Ok(decree) => Self::apply(self, index.0, &decree),
            Err(error) => {
                self.applied = index.0;
                Outcome::Refused { refusal: Refusal::Malformed { text: error.to_string() } }
            }
        };
        outcome.encode().into()
    }

    fn snapshot(&self) -> Bytes {
        self.encode().into()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let restored = Self::decode(state).map_err(|error| RestoreError(error.to_string()))?;
        #[cfg(any(test, feature = "testing"))]
        let restored = Self { planted: self.planted, ..restored };
        *self = restored;
        Ok(())
    }
}
