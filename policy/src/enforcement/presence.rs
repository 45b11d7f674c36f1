//! Whether the table is there, and being told of transactions that change it: `nft flush ruleset`, as a restart of
//! Debian's nftables service does it, or `nft flush table inet linnet` would otherwise leave the pods open.
//!
//! By netlink, not by nft, which reads all that is in all tables before it says anything.

use std::io;

use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket};

use crate::ruleset::TABLE;

/// NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h).
const GROUP: u32 = 7;
/// NFNL_SUBSYS_NFTABLES in the high byte, NFT_MSG_GETTABLE in the low one (linux/netfilter/nf_tables.h).
const GET_TABLE: u16 = 10 << 8 | 1;
/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// NFT_MSG_NEWGEN likewise: the last message about a transaction.
const NEW_GENERATION: u16 = 10 << 8 | 15;
/// NLM_F_REQUEST (linux/netlink.h).
const REQUEST: u16 = 1;
/// NLMSG_ERROR; the message goes on with the negated errno.
const ERROR: u16 = 2;
const ENOENT: i32 = 2;
const ENOBUFS: i32 = 105;
/// NFPROTO_INET (linux/netfilter.h).
const INET: u8 = 1;
/// NFTA_TABLE_NAME, and NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE and so on, which are
/// all the same number (linux/netfilter/nf_tables.h).
const TABLE_NAME: u16 = 1;

/// nlmsghdr (linux/netlink.h), and nfgenmsg after it (linux/netfilter/nfnetlink.h).
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// Hears of each change to the nftables of one network namespace, that of the thread that makes it.
pub(super) struct Notice {
    socket: TokioSocket,
    heard: Heard,
}

/// What a [`Notice`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// One transaction that changed our table is in force: this program's, or somebody's. The kernel does not say whose.
    Transaction,
    /// The kernel had more to say than the socket holds; what came before is dropped with it.
    Lost,
}

impl Notice {
    pub(super) fn new() -> io::Result<Notice> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_mut().add_membership(GROUP)?;
        Ok(Notice { socket, heard: Heard::default() })
    }

    /// The next sign. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Sign> {
        loop {
            if self.heard.take() {
                return Ok(Sign::Transaction);
            }
            match self.socket.recv_from_full().await {
                Ok((messages, _)) => self.heard.read(&messages),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    while self.socket.socket_ref().recv_from_full().is_ok() {}
                    self.heard = Heard::default();
                    return Ok(Sign::Lost);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Transactions on our table, counted as messages come.
#[derive(Debug, Default)]
struct Heard {
    /// The transaction that is being told of says something of our table.
    ours: bool,
    transactions: u32,
}

impl Heard {
    /// What is malformed says nothing.
    fn read(&mut self, mut messages: &[u8]) {
        while let Some((message, rest)) =
            split(messages, |bytes| Some(u32::from_ne_bytes(*bytes.first_chunk()?) as usize))
        {
            messages = rest;
            if kind(message) == Some(NEW_GENERATION) {
                self.transactions += u32::from(std::mem::take(&mut self.ours));
            } else {
                self.ours |= is_about_our_table(message);
            }
        }
    }

    fn take(&mut self) -> bool {
        let any = self.transactions > 0;
        self.transactions -= u32::from(any);
        any
    }
}

/// Whether the table is there now. May wait for other transactions on nftables.
pub(super) fn is_present() -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let mut request = Vec::new();
    request.extend([0; 4]);
    request.extend(GET_TABLE.to_ne_bytes());
    request.extend(REQUEST.to_ne_bytes());
    // Sequence and port: the only request of this socket.
    request.extend([0; 8]);
    request.extend([INET, 0, 0, 0]);
    // The attribute: its length, its kind, the name with its end, and what fills four bytes.
    let length = 4 + TABLE.len() + 1;
    request.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    request.extend(TABLE_NAME.to_ne_bytes());
    request.extend(TABLE.as_bytes());
    request.resize(HEADER + GENERIC_HEADER + length.next_multiple_of(4), 0);
    let total = u32::try_from(request.len()).unwrap_or(u32::MAX);
    request[..4].copy_from_slice(&total.to_ne_bytes());
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    if kind(&answer) != Some(ERROR) {
        return Ok(true);
    }
    match answer.get(HEADER..).and_then(|bytes| bytes.first_chunk()).map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(error) if error == -ENOENT => Ok(false),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn kind(message: &[u8]) -> Option<u16> {
    message.get(4..6).and_then(|bytes| bytes.first_chunk()).map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Whether a message of nftables names our table.
fn is_about_our_table(message: &[u8]) -> bool {
    if kind(message).map(|kind| kind >> 8) != Some(SUBSYSTEM) || message.get(HEADER) != Some(&INET) {
        return false;
    }
    let mut attributes = message.get(HEADER + GENERIC_HEADER..).unwrap_or_default();
    while let Some((attribute, rest)) =
        split(attributes, |bytes| Some(usize::from(u16::from_ne_bytes(*bytes.first_chunk()?))))
    {
        attributes = rest;
        let kind = attribute.get(2..4).and_then(|bytes| bytes.first_chunk()).map(|b| u16::from_ne_bytes(*b));
        let name = attribute.get(4..).unwrap_or_default();
        if kind == Some(TABLE_NAME) && name.strip_suffix(b"\0") == Some(TABLE.as_bytes()) {
            return true;
        }
    }
    false
}

/// The first of what is aligned to 4 bytes and begins with its own length, and what follows it.
fn split(bytes: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<(&[u8], &[u8])> {
    let length = length(bytes)?;
    let item = bytes.get(..length).filter(|item| item.len() >= 4)?;
    Some((item, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = attributes.concat();
        let mut bytes = Vec::new();
        bytes.extend(u32::try_from(HEADER + GENERIC_HEADER + body.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend([family, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    const DELETE_RULE: u16 = 10 << 8 | 8;

    fn transactions(messages: &[u8]) -> u32 {
        let mut heard = Heard::default();
        heard.read(messages);
        heard.transactions
    }

    #[test]
    fn only_a_transaction_that_names_our_table_counts_and_counts_once() {
        let ours = message(DELETE_RULE, INET, &[attribute(4, &[0; 8]), attribute(TABLE_NAME, b"linnet\0")]);
        let other = message(DELETE_RULE, INET, &[attribute(TABLE_NAME, b"linnets\0")]);
        let bridge = message(DELETE_RULE, 7, &[attribute(TABLE_NAME, b"linnet\0")]);
        let elsewhere = message(8, INET, &[attribute(TABLE_NAME, b"linnet\0")]);
        let end = message(NEW_GENERATION, 0, &[attribute(1, &[0; 4])]);
        for (messages, count) in [
            (vec![&ours, &end], 1),
            (vec![&ours, &other, &ours, &end], 1),
            (vec![&ours, &end, &other, &end, &ours, &end], 2),
            (vec![&other, &bridge, &elsewhere, &end], 0),
            (vec![&ours], 0),
            (vec![], 0),
        ] {
            let bytes: Vec<u8> = messages.into_iter().flatten().copied().collect();
            assert_eq!(transactions(&bytes), count, "{bytes:?}");
        }
    }

    #[test]
    fn a_transaction_may_come_in_several_datagrams() {
        let mut heard = Heard::default();
        heard.read(&message(DELETE_RULE, INET, &[attribute(TABLE_NAME, b"linnet\0")]));
        assert!(!heard.take());
        heard.read(&message(NEW_GENERATION, 0, &[]));
        assert!(heard.take());
        assert!(!heard.take());
    }

    #[test]
    fn cut_and_garbled_messages_end_the_reading() {
        let ours = message(DELETE_RULE, INET, &[attribute(TABLE_NAME, b"linnet\0")]);
        // The last byte is padding.
        for cut in 0..ours.len() - 1 {
            assert!(!is_about_our_table(&ours[..cut]));
        }
        for length in [0u32, 1, 3, u32::MAX] {
            let mut garbled = [ours.clone(), message(NEW_GENERATION, 0, &[])].concat();
            garbled[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(transactions(&garbled), 0);
        }
    }
}
