//! A socket that asks: each call sends, waits for the kernel's answers and returns them. Netlink answers from within
//! the send, so that waiting here is never waiting for anything but the work itself.

use std::{io, time::Duration};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{
    SocketAddr,
    protocols::{NETLINK_GENERIC, NETLINK_ROUTE},
};
#[cfg(test)]
use nix::sys::socket::sockopt::SndBufForce;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

use super::batch::{Answer, Batch, Message, NLMSG_DONE, NLMSG_ERROR, Refusal, Request, messages, verdict};
use crate::FibError;

/// Requests of one send when each is answered by a message.
const QUESTIONS: usize = 64;
/// Octets of the receive buffer.
const RECEIVE: usize = 4 << 20;
/// Octets of one datagram; the kernel makes none over 32 KiB for a dump.
const DATAGRAM: usize = 64 << 10;
/// How often a dump is tried again that the kernel says changed under it.
pub(crate) const DUMPS: usize = 10;
/// Patience with the kernel; it answers within microseconds unless a lock is held for long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A netlink socket of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn open() -> Result<Socket, FibError> {
        Self::open_to(NETLINK_ROUTE)
    }

    /// One of generic netlink.
    pub(crate) fn open_generic() -> Result<Socket, FibError> {
        Self::open_to(NETLINK_GENERIC)
    }

    fn open_to(protocol: isize) -> Result<Socket, FibError> {
        let fail = |what| move |source| FibError::Socket { what, source };
        let mut socket = netlink_sys::Socket::new(protocol).map_err(fail("open"))?;
        let port = socket.bind_auto().map_err(fail("bind"))?.port_number();
        socket.connect(&SocketAddr::new(0, 0)).map_err(fail("connect"))?;
        socket.set_ext_ack(true).map_err(fail("ask for extended acknowledgements"))?;
        socket.set_cap_ack(true).map_err(fail("ask for capped acknowledgements"))?;
        // Without it the kernel ignores the filter of a dump and sends every table.
        socket.set_netlink_get_strict_chk(true).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOPROTOOPT) => FibError::OldKernel,
            _ => fail("ask for strict checks")(source),
        })?;
        setsockopt(&socket, RcvBufForce, &RECEIVE)
            .map_err(|errno| FibError::Socket { what: "enlarge the receive buffer", source: errno.into() })?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE)).map_err(fail("set a time-out"))?;
        Ok(Socket { socket, port, sequence: 0, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// For tests: room for fewer answers, or for more.
    #[cfg(test)]
    pub(crate) fn set_receive_buffer(&self, octets: usize) {
        setsockopt(&self.socket, RcvBufForce, &octets).expect("a receive buffer");
    }

    /// For tests: no larger request than so many octets is taken.
    #[cfg(test)]
    pub(crate) fn set_send_buffer(&self, octets: usize) {
        setsockopt(&self.socket, SndBufForce, &octets).expect("a send buffer");
    }

    /// For tests: cuts off longer answers.
    #[cfg(test)]
    pub(crate) fn set_datagram(&mut self, octets: usize) {
        self.buffer = Vec::with_capacity(octets);
    }

    /// The port number by which the kernel names this socket in notifications of what it caused.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Overwrites what was received last: it held a secret.
    pub(crate) fn wipe(&mut self) {
        self.buffer.clear();
        self.buffer.resize(self.buffer.capacity(), 0);
    }

    /// Sends a batch and returns what the kernel refused, by the number of the request in it, in order. The batch is
    /// empty then.
    ///
    /// Only the last of a send asks for an acknowledgement: the kernel works in order and reports each error, so that
    /// silence before it is success.
    pub(crate) fn deliver(&mut self, batch: &mut Batch) -> Result<Vec<(usize, Refusal)>, FibError> {
        let count = batch.count();
        if count == 0 {
            return Ok(Vec::new());
        }
        let first = self.send(batch, true);
        batch.clear();
        let first = first?;
        let mut refused = Vec::new();
        let mut done = false;
        while !done {
            self.receive(|answer| {
                let index = answer.sequence.wrapping_sub(first) as usize;
                if answer.kind == NLMSG_ERROR && index < count {
                    refused.extend(verdict(&answer).err().map(|refusal| (index, refusal)));
                    done |= index == count - 1;
                }
                Ok(())
            })?;
        }
        Ok(refused)
    }

    /// Sends all requests, as few sends as can be, and returns the kernel's verdict on each, in their order.
    pub(crate) fn batch(&mut self, requests: &[Request]) -> Result<Vec<Result<(), Refusal>>, FibError> {
        let mut verdicts = vec![Ok(()); requests.len()];
        let mut batch = Batch::default();
        let mut sent = 0;
        for (number, request) in requests.iter().enumerate() {
            batch.push_request(request);
            if batch.is_full() || number + 1 == requests.len() {
                for (index, refusal) in self.deliver(&mut batch)? {
                    verdicts[sent + index] = Err(refusal);
                }
                sent = number + 1;
            }
        }
        Ok(verdicts)
    }

    /// One request; what the kernel says of it.
    pub(crate) fn attempt(&mut self, message: &Message, flags: u16) -> Result<Result<(), Refusal>, FibError> {
        let mut batch = Batch::default();
        batch.push(message.kind, flags, &message.payload);
        let refused = self.deliver(&mut batch)?.pop();
        Ok(refused.map_or(Ok(()), |(_, refusal)| Err(refusal)))
    }

    /// One request that should be granted; `what` says it as a verb and its object, for the error.
    pub(crate) fn perform(&mut self, what: &str, request: Request) -> Result<(), FibError> {
        let verdict = self.attempt(&Message::new(&request.message), request.flags)?;
        verdict.map_err(|refusal| FibError::Kernel {
            what: what.to_owned(),
            source: refusal.error(),
            message: refusal.message,
        })
    }

    /// Asks questions that have one answer each (RTM_GETROUTE, RTM_GETLINK) and returns these in order.
    pub(crate) fn ask(&mut self, questions: &[Request]) -> Result<Vec<Result<RouteNetlinkMessage, Refusal>>, FibError> {
        let mut answers = Vec::with_capacity(questions.len());
        let mut batch = Batch::default();
        for some in questions.chunks(QUESTIONS) {
            some.iter().for_each(|question| batch.push_request(question));
            let sent = some.len();
            let first = self.send(&mut batch, false)?;
            batch.clear();
            let mut part: Vec<Option<Result<RouteNetlinkMessage, Refusal>>> = vec![None; sent];
            let mut missing = sent;
            while missing > 0 {
                self.receive(|answer| {
                    let index = answer.sequence.wrapping_sub(first) as usize;
                    if let Some(slot) = part.get_mut(index)
                        && slot.is_none()
                    {
                        *slot = Some(if answer.kind == NLMSG_ERROR {
                            verdict(&answer).and_then(|()| Err(unreadable("an empty answer")))
                        } else {
                            parse(&answer).map_err(|why| unreadable(&why))
                        });
                        missing -= 1;
                    }
                    Ok(())
                })?;
            }
            answers.extend(part.into_iter().flatten());
        }
        Ok(answers)
    }

    /// Reads a whole table. `pick` takes what it wants of each entry. An entry that cannot be parsed is left out: some
    /// other owner's object of a kind that this crate does not know must not stop it.
    pub(crate) fn dump<T>(
        &mut self,
        question: RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, FibError> {
        self.dump_octets(&Message::new(&question), |answer| match parse(answer) {
            Ok(message) => pick(message),
            Err(why) => {
                tracing::debug!(%why, "left out an entry of a netlink dump");
                None
            }
        })
    }

    /// Reads a whole table of which each entry is taken as octets.
    pub(crate) fn dump_octets<T>(
        &mut self,
        question: &Message,
        mut pick: impl FnMut(&Answer<'_>) -> Option<T>,
    ) -> Result<Vec<T>, FibError> {
        for _ in 0..DUMPS {
            if let Some(found) = self.dump_once(question, &mut pick)? {
                return Ok(found);
            }
        }
        Err(FibError::Lost(format!("a table changed under each of {DUMPS} readings")))
    }

    /// Reads a whole table once; `None`: the kernel says that it changed meanwhile, and what was picked may not be all.
    pub(crate) fn dump_once<T>(
        &mut self,
        question: &Message,
        mut pick: impl FnMut(&Answer<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, FibError> {
        let mut batch = Batch::default();
        batch.push(question.kind, NLM_F_DUMP, &question.payload);
        let sequence = self.send(&mut batch, false)?;
        let (mut found, mut done, mut torn) = (Vec::new(), false, false);
        while !done {
            self.receive(|answer| {
                if answer.sequence != sequence {
                    return Ok(());
                }
                torn |= answer.flags & NLM_F_DUMP_INTR != 0;
                match answer.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        done = true;
                        // The kernel may give up in the middle. A strict check says so of a table that has no route yet.
                        match verdict(&answer) {
                            Err(refusal) if refusal.errno != libc::ENOENT => {
                                return Err(FibError::Kernel {
                                    what: "read a table".into(),
                                    source: refusal.error(),
                                    message: refusal.message,
                                });
                            }
                            _ => {}
                        }
                    }
                    _ => found.extend(pick(&answer)),
                }
                Ok(())
            })?;
        }
        Ok((!torn).then_some(found))
    }

    /// Sends a batch; returns the first request's sequence number.
    fn send(&mut self, batch: &mut Batch, acknowledge: bool) -> Result<u32, FibError> {
        let first = self.sequence.wrapping_add(1);
        let bytes = batch.seal(first, acknowledge);
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(FibError::Socket { what: "send", source }),
            }
        }
        self.sequence = self.sequence.wrapping_add(batch.count() as u32);
        Ok(first)
    }

    /// Receives one datagram and hands over its messages.
    fn receive(&mut self, mut take: impl FnMut(Answer<'_>) -> Result<(), FibError>) -> Result<(), FibError> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => {
                    return Err(FibError::Lost(format!("a datagram of {length} octets was cut off")));
                }
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Err(FibError::Lost("the receive buffer overflowed".into()));
                }
                Err(source) => return Err(FibError::Socket { what: "receive", source }),
            }
        }
        messages(&self.buffer).try_for_each(&mut take)
    }
}

fn unreadable(why: &str) -> Refusal {
    Refusal { errno: libc::EBADMSG, message: why.to_owned() }
}

pub(crate) fn parse(answer: &Answer<'_>) -> Result<RouteNetlinkMessage, String> {
    use netlink_packet_core::ParseableParametrized;
    RouteNetlinkMessage::parse_with_param(answer.payload, answer.kind).map_err(|error| error.to_string())
}
