//! SHOW VARIABLES.

use super::listing::{Listing, text};
use crate::session::Client;
use crate::statement::Scope;
use crate::variables::{Reach, VARIABLES};

/// The session's values, with those of the node where sessions have none; or the node's.
pub(super) fn variables(client: &Client, scope: Scope) -> Listing {
    let mut listing = Listing::new(&["Variable_name", "Value"]);
    for variable in VARIABLES {
        let value = match (scope, variable.reach) {
            (Scope::Global, Reach::Session) => continue,
            (Scope::Global, _) | (_, Reach::Global | Reach::Cluster) => {
                client.state.globals.get(variable)
            }
            _ => client.state.variable(variable),
        };
        listing.push([text(variable.name), text(variable.shown(&value))]);
    }
    listing
}
