//! TLS records: opens those that were received, seals those that are to be sent.
//!
//! In: bytes. Out: bytes, and what the session itself has to tell its peer: handshake messages, new
//! keys, alerts. Knows no sockets.

use std::fmt;
use std::io;

use rustls::CommonState;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::Session;
use crate::leftover::Leftover;

/// One session.
pub(super) struct Records<S> {
    session: S,
    /// Whether the peer has said that nothing more comes.
    ended: bool,
}

impl<S> fmt::Debug for Records<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<S: Session> Records<S> {
    pub(super) const fn new(session: S) -> Self {
        Self {
            session,
            ended: false,
        }
    }

    pub(super) fn state(&self) -> &CommonState {
        &self.session
    }

    /// Returns whether the peer has said that nothing more comes. Nothing that follows is looked at.
    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    /// Opens all records that are whole, and returns how many bytes they took: the rest is to come
    /// again, in front of what follows it.
    ///
    /// # Errors
    /// The bytes are not what the peer may send now; the alert about it is among what is to be sent.
    pub(super) fn open(
        &mut self,
        received: &mut [u8],
        to_send: &mut Leftover,
        mut opened: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = rest_of(received, used);
            let UnbufferedStatus { mut discard, state } = self.session.step(rest);
            let blocked = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        opened(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(message)) => {
                    encode(message, to_send)?;
                    false
                }
                // It waits to be sent, in its place.
                Ok(ConnectionState::TransmitTlsData(transmission)) => {
                    transmission.done();
                    false
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    return Ok(received.len());
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
                // Early data is never offered nor accepted.
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => {
                    self.complain(rest_of(received, used), to_send);
                    return Err(invalid(error));
                }
            };
            used += discard;
            if blocked {
                return Ok(used);
            }
        }
    }

    /// Lets the peer know what was wrong with its bytes.
    fn complain(&mut self, received: &mut [u8], to_send: &mut Leftover) {
        if let Ok(ConnectionState::EncodeTlsData(alert)) = self.session.step(received).state {
            let _no_alert = encode(alert, to_send);
        }
    }

    /// Seals bytes and returns how long that became. `partial` is what was received and is not whole
    /// yet; `to_send` gets what has to leave before.
    ///
    /// # Errors
    /// The session is over.
    pub(super) fn seal(
        &mut self,
        bytes: &[u8],
        into: &mut [u8],
        partial: &mut [u8],
        to_send: &mut Leftover,
    ) -> io::Result<usize> {
        self.write(partial, to_send, |mut traffic| traffic.encrypt(bytes, into))
    }

    /// Tells the peer that nothing more comes.
    ///
    /// # Errors
    /// The session is over.
    pub(super) fn say_goodbye(
        &mut self,
        partial: &mut [u8],
        to_send: &mut Leftover,
    ) -> io::Result<()> {
        /// A record with an alert, and room to spare.
        const LENGTH: usize = 128;
        let mut alert = [0; LENGTH];
        let length = self.write(partial, to_send, |mut traffic| {
            traffic.queue_close_notify(&mut alert)
        })?;
        to_send.add(alert.get(..length).unwrap_or_default());
        Ok(())
    }

    fn write(
        &mut self,
        partial: &mut [u8],
        to_send: &mut Leftover,
        with: impl FnOnce(WriteTraffic<'_, S::Data>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        loop {
            match self.session.step(partial).state.map_err(invalid)? {
                ConnectionState::WriteTraffic(traffic) => {
                    return with(traffic)
                        .map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error));
                }
                ConnectionState::EncodeTlsData(message) => encode(message, to_send)?,
                ConnectionState::TransmitTlsData(transmission) => transmission.done(),
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

fn rest_of(received: &mut [u8], used: usize) -> &mut [u8] {
    received.get_mut(used..).unwrap_or_default()
}

fn encode<D>(mut message: EncodeTlsData<'_, D>, to_send: &mut Leftover) -> io::Result<()> {
    let mut encoded = Vec::new();
    if let Err(EncodeError::InsufficientSize(wanted)) = message.encode(&mut encoded) {
        encoded.resize(wanted.required_size, 0);
        message
            .encode(&mut encoded)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    to_send.add(&encoded);
    Ok(())
}

/// As whoever reads expects errors of TLS: inside one of kind `InvalidData`.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
