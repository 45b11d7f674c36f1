//! A hash that is the same in every build and on every machine, for names that must survive a restart.

/// FNV-1a of 64 bits, then MurmurHash3's finaliser (`fmix64`), because FNV leaves its upper bits poorly mixed for
/// short input and callers use only a part.
pub(crate) fn stable(octets: impl IntoIterator<Item = u8>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for octet in octets {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
