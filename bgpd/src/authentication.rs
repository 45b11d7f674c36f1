//! How a peer's segments are signed: TCP MD5 (RFC 2385) or TCP-AO (RFC 5925).

use std::fmt;

/// What signs the segments of a peer's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// TCP MD5 (RFC 2385): one key.
    Md5(Secret),
    /// TCP-AO (RFC 5925): several keys, by number.
    TcpAo(AoKeys),
}

impl Authentication {
    /// The keys of TCP-AO.
    #[must_use]
    pub fn tcp_ao(&self) -> Option<&AoKeys> {
        match self {
            Self::TcpAo(keys) => Some(keys),
            Self::Md5(_) => None,
        }
    }

    /// Whether connections that are signed with `before` can go on with this. TCP-AO is there from a connection's first
    /// segment or not at all (RFC 5925 section 7.4.1).
    pub(crate) fn can_follow(new: Option<&Self>, before: Option<&Self>) -> bool {
        match (before, new) {
            (Some(Self::TcpAo(before)), Some(Self::TcpAo(new))) => new.can_follow(before),
            (Some(Self::TcpAo(_)), _) | (_, Some(Self::TcpAo(_))) => false,
            (Some(Self::Md5(_)) | None, Some(Self::Md5(_)) | None) => true,
        }
    }
}

/// What both ends know and nobody else: 1 to 80 octets. Printing it, `Debug` too, shows no part of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The longest that Linux takes (`TCP_MD5SIG_MAXKEYLEN` and `TCP_AO_MAXKEYLEN` of linux/tcp.h).
    pub const MAX_LEN: usize = 80;

    /// `None` for one that is empty or longer than [`Secret::MAX_LEN`] octets.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        (1..=Self::MAX_LEN).contains(&octets.len()).then(|| Self(octets.into()))
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How TCP-AO signs a segment, and makes a connection's keys of the one that is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96 with `KDF_HMAC_SHA1` (RFC 5926 sections 3.1.1.1 and 3.2.1).
    HmacSha1,
    /// AES-128-CMAC-96 with `KDF_AES_128_CMAC` (RFC 5926 sections 3.1.1.2 and 3.2.2).
    Aes128Cmac,
    /// HMAC-SHA-256 cut to 128 bits, with a KDF of the same kind. No RFC has it, Linux and routers do.
    HmacSha256,
}

impl AoAlgorithm {
    /// All of them, with what people call them.
    pub const ALL: [(&'static str, Self); 3] = [
        ("hmac-sha-1-96", Self::HmacSha1),
        ("aes-128-cmac-96", Self::Aes128Cmac),
        ("hmac-sha-256-128", Self::HmacSha256),
    ];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => Self::ALL[0].0,
            Self::Aes128Cmac => Self::ALL[1].0,
            Self::HmacSha256 => Self::ALL[2].0,
        }
    }
}

/// A key of TCP-AO: a master key tuple (RFC 5925 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// The number that our segments name it by: the peer's `receive_id`.
    pub send_id: u8,
    /// The number that the peer's segments name it by: the peer's `send_id`.
    pub receive_id: u8,
    /// What is done with it.
    pub algorithm: AoAlgorithm,
    /// The key.
    pub secret: Secret,
}

impl fmt::Display for AoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.send_id, self.receive_id)
    }
}

/// The keys of a peer, 1 to [`AoKeys::MOST`], the one to sign with first. No two share a number in one direction (RFC 5925
/// section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKeys(Box<[AoKey]>);

impl AoKeys {
    /// A key that goes, one that comes, and some for the peers that are behind: each takes the kernel's memory in every socket.
    pub const MOST: usize = 8;

    /// `None` for no keys, too many, or two that share a number.
    #[must_use]
    pub fn new(keys: Vec<AoKey>) -> Option<Self> {
        let clash = keys.iter().enumerate().any(|(index, key)| keys[..index].iter().any(|other| clash(key, other)));
        ((1..=Self::MOST).contains(&keys.len()) && !clash).then(|| Self(keys.into()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &AoKey> {
        self.0.iter()
    }

    pub(crate) fn first(&self) -> &AoKey {
        &self.0[0] // never empty
    }

    /// Those of these keys that `others` has not.
    pub(crate) fn without<'k>(&'k self, others: &'k Self) -> impl Iterator<Item = &'k AoKey> {
        self.iter().filter(|key| !others.0.contains(key))
    }

    /// Whether a connection with the keys `before` can be given these instead: a number means one key for as long as a
    /// connection lives (RFC 5925 section 3.1).
    fn can_follow(&self, before: &Self) -> bool {
        self.without(before).all(|new| before.iter().all(|old| !clash(new, old)))
    }
}

fn clash(one: &AoKey, other: &AoKey) -> bool {
    one.send_id == other.send_id || one.receive_id == other.receive_id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(send_id: u8, receive_id: u8, secret: &str) -> AoKey {
        let secret = Secret::new(secret.as_bytes()).unwrap();
        AoKey { send_id, receive_id, algorithm: AoAlgorithm::HmacSha1, secret }
    }

    fn ao(keys: &[AoKey]) -> Option<Authentication> {
        AoKeys::new(keys.to_vec()).map(Authentication::TcpAo)
    }

    #[test]
    fn keys_have_numbers_of_their_own_in_each_direction() {
        assert!(ao(&[]).is_none());
        assert!(ao(&[key(1, 2, "a"), key(2, 1, "b")]).is_some());
        assert!(ao(&[key(1, 2, "a"), key(1, 3, "b")]).is_none());
        assert!(ao(&[key(1, 2, "a"), key(3, 2, "b")]).is_none());
        let many = |number: u8| (0..number).map(|id| key(id, id, "a")).collect::<Vec<_>>();
        assert!(ao(&many(8)).is_some() && ao(&many(9)).is_none());
    }

    #[test]
    fn a_connection_keeps_what_it_began_with_and_changes_keys_only_by_new_numbers() {
        let md5 = Some(Authentication::Md5(Secret::new(b"a").unwrap()));
        let (one, both) = (ao(&[key(1, 1, "a")]), ao(&[key(2, 2, "b"), key(1, 1, "a")]));
        for (before, new, expected) in [
            (&None, &md5, true),
            (&md5, &None, true),
            (&md5, &one, false),
            (&one, &md5, false),
            (&None, &one, false),
            (&one, &None, false),
            (&one, &both, true),
            (&both, &one, true),
            (&one, &ao(&[key(2, 2, "b")]), true),
            (&one, &ao(&[key(1, 1, "b")]), false),
            (&one, &ao(&[key(1, 2, "b")]), false),
        ] {
            let can = Authentication::can_follow(new.as_ref(), before.as_ref());
            assert_eq!(can, expected, "{before:?} then {new:?}");
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let (md5, ao) = (Authentication::Md5(Secret::new(b"s3cret").unwrap()), ao(&[key(1, 1, "s3cret")]));
        assert!(!format!("{md5:?} {ao:?}").contains("s3cret"));
    }
}
