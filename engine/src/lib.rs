//! A partition of Resprout: page tree, tables, transactions, recovery.
