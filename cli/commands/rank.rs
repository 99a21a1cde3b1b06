//! `croft rank`: one rank on a device of this machine, a child of a worker, on an inherited socket. Not for people.

use croft_rank::confine::Network;

use crate::{
    args,
    exit::{Exit, Failed},
};

/// Serves renders until the worker closes the socket.
pub(crate) fn run(args: &args::Rank) -> Result<Exit, Failed> {
    let network = if args.gang { Network::Gang } else { Network::None };
    croft_rank::run(args.fd, args.threads, &args.scratch, network, args.device)
        .map_err(|e| Failed::new(e.to_string()))?;
    Ok(Exit::Ok)
}
