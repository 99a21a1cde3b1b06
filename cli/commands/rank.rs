//! `croft rank`: one rank of this machine's CPU, a child of a worker, on an inherited socket. Not for people.

use crate::{
    args,
    exit::{Exit, Failed},
};

/// Serves renders until the worker closes the socket.
pub(crate) fn run(args: &args::Rank) -> Result<Exit, Failed> {
    croft_rank::run(args.fd, args.threads).map_err(|e| Failed::new(e.to_string()))?;
    Ok(Exit::Ok)
}
