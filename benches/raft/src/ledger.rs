//! What one node has applied: how often each command. The state machine of every library.

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};

/// Bytes of a command; the first eight are its number.
pub const COMMAND_BYTES: usize = 256;

/// The command with that number.
pub fn command(number: u64) -> Vec<u8> {
    let mut bytes = vec![0x5a; COMMAND_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<u8>>>);

impl Ledger {
    /// Notes how often a command was applied, as another process says.
    pub fn set(&self, number: u64, count: u8) {
        let mut counts = self.0.lock().expect("nobody panics with it");
        *place(&mut counts, number) = count;
    }

    /// Applies commands.
    pub fn apply<'a>(&self, commands: impl Iterator<Item = &'a [u8]>) {
        let mut counts = self.0.lock().expect("nobody panics with it");
        for command in commands {
            assert_eq!(command.len(), COMMAND_BYTES, "a command that nobody proposed");
            let number = u64::from_le_bytes(command[..8].try_into().expect("eight bytes"));
            let count = place(&mut counts, number);
            *count = count.saturating_add(1);
        }
    }

    /// How often the command was applied.
    pub fn count(&self, number: u64) -> u8 {
        let counts = self.0.lock().expect("nobody panics with it");
        counts.get(number as usize).copied().unwrap_or(0)
    }
}

fn place(counts: &mut Vec<u8>, number: u64) -> &mut u8 {
    let number = usize::try_from(number).expect("few commands");
    if counts.len() <= number {
        counts.resize(number + 1, 0);
    }
    &mut counts[number]
}

/// Checks that every acknowledged command was applied once on every node.
///
/// # Errors
/// The first that was not.
pub fn verify(ledgers: &[Ledger], acknowledged: &[u64]) -> Result<()> {
    for (node, ledger) in ledgers.iter().enumerate() {
        for number in acknowledged {
            let count = ledger.count(*number);
            ensure!(count == 1, "node {node} applied command {number} {count} times");
        }
    }
    Ok(())
}
