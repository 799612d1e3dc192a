#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vr_fuzz::pipeline(data));
