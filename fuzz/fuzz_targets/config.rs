#![no_main]
//! See `lifeboat_testkit::parse`.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lifeboat_testkit::parse::config(bytes);
});
