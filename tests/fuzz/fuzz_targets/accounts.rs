//! Target `accounts` of `resprout_fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    resprout_fuzz::run_sealed("accounts", data);
});
