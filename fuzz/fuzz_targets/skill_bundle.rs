//! Bundles as they come from the blob store. One that is taken has the digest of its own bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bundle: &[u8]| {
    if let Ok(skill) = maestro_skills::unpack(bundle) {
        let again = maestro_skills::unpack(skill.bundle()).expect("its own bundle is a skill");
        assert_eq!(again.digest(), skill.digest());
    }
});
