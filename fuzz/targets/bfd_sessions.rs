#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| linnet_fuzz::bfd_sessions(data));
