//! Targets of what nodes say to each other.

use resprout_consensus::wire::{
    Hello, MESSAGE_BYTES_MAX, Reject, Welcome, WireError, decode, encode, size,
};

use crate::Outcome;

/// A frame with a message: what is decoded comes back, and takes no more than is counted for it.
pub(crate) fn message(input: &[u8]) -> Outcome {
    let decoded = decode(input, MESSAGE_BYTES_MAX);
    if let Ok(envelope) = &decoded {
        let again = encode(envelope, usize::MAX).expect("there is no bound");
        assert!(size(envelope) >= again.len(), "{} bytes for {envelope:?}", again.len());
        let found = decode(&again, again.len()).expect("it was just encoded");
        assert_eq!(found, *envelope);
    }
    Outcome::of(&decoded)
}

/// A frame of a handshake: it is of one kind, and has one form.
pub(crate) fn handshake(input: &[u8]) -> Outcome {
    let encoded: [Result<Vec<u8>, WireError>; 3] = [
        Hello::decode(input).map(|hello| hello.encode()),
        Welcome::decode(input).map(|welcome| welcome.encode()),
        Reject::decode(input).map(|reject| reject.encode()),
    ];
    let mut kinds = encoded.into_iter().flatten();
    let Some(again) = kinds.next() else { return Outcome::Refused };
    assert!(kinds.next().is_none(), "a frame is of one kind");
    // A reason says some things in fewer bytes than there is room for.
    let is_reject = Reject::decode(input).is_ok();
    assert!(again == input || is_reject, "a greeting has one form");
    assert_eq!(Reject::decode(&again).is_ok(), is_reject);
    Outcome::Accepted
}
