//! WireGuard's keys, as far as Linnet has to know them: octets that the kernel calculates with.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Octets of a key.
pub(super) const KEY: usize = 32;

/// A public key, which everybody may see. Written as `wg` writes it, in base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; KEY]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A private key. It is in no message, log or `Debug` output, and its memory is overwritten when it goes.
#[derive(PartialEq, Eq)]
pub struct PrivateKey(Box<[u8; KEY]>);

impl PrivateKey {
    /// Of random octets, of which a few bits are set as Curve25519 wants them (RFC 7748, section 5): so the kernel keeps
    /// them, and what it says it has can be compared.
    #[must_use]
    pub fn new(octets: [u8; KEY]) -> Self {
        let mut key = Box::new(octets);
        key[0] &= 248;
        key[KEY - 1] = key[KEY - 1] & 127 | 64;
        Self(key)
    }

    /// From the text of a key file, in base64; `None`: it is no key.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut octets = STANDARD.decode(text.trim()).ok()?;
        let key = <[u8; KEY]>::try_from(octets.as_slice()).ok().map(Self::new);
        wipe(&mut octets);
        key
    }

    /// For a key file, which nobody else may read.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        format!("{}\n", STANDARD.encode(self.0.as_slice()))
    }

    pub(super) fn octets(&self) -> [u8; KEY] {
        *self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        wipe(self.0.as_mut_slice());
    }
}

/// Overwrites a secret, in a way that the compiler does not leave out as of no consequence.
pub(crate) fn wipe(octets: &mut [u8]) {
    octets.fill(0);
    std::hint::black_box(octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_survives_its_file_and_is_shown_nowhere() {
        let key = PrivateKey::new([0xff; KEY]);
        let text = key.to_secret_text();
        assert_eq!(PrivateKey::from_text(&text).as_ref(), Some(&key));
        assert_eq!((key.octets()[0], key.octets()[31]), (0xf8, 0x7f));
        assert_eq!(format!("{key:?}"), "PrivateKey(…)");
        for wrong in ["", "AAAA", "not base64", &text[1..]] {
            assert_eq!(PrivateKey::from_text(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_public_key_is_written_as_wg_writes_it() {
        assert_eq!(PublicKey([0; KEY]).to_string(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
}
