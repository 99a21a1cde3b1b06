//! The one unsafe line of a rank: a number on the command line becomes the socket that the worker left open for it.
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

pub(crate) fn inherited(fd: i32) -> io::Result<UnixStream> {
    if fd < 3 {
        return Err(io::Error::other("descriptors 0 to 2 are the standard streams"));
    }
    // SAFETY: the worker opened it for this process alone and nothing here has touched it; it is taken once.
    let stream = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // A number that is no socket shows here rather than at the first message.
    stream.peer_addr()?;
    Ok(stream)
}
