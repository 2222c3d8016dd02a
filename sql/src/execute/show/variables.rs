//! SHOW VARIABLES.

use super::listing::{Listing, text};
use crate::expression::{Session as _, VariableScope};
use crate::session::{Client, SYSTEM_VARIABLES};

pub(super) fn variables(client: &Client) -> Listing {
    let surroundings = client.state.surroundings();
    let mut listing = Listing::new(&["Variable_name", "Value"]);
    for name in SYSTEM_VARIABLES {
        if let Some(value) = surroundings.system_variable(VariableScope::Any, name) {
            listing.push([text(*name), text(value.to_string())]);
        }
    }
    listing
}
