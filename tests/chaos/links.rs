//! Connections that can be cut and stalled: a relay between two loopback ports.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    sync::watch,
    task::JoinSet,
};

/// How a relay behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// Connections are closed, new ones as soon as they are made.
    Cut,
    /// Bytes stay where they are; nobody is told.
    Stalled,
}

/// A relay. Its tasks end with the runtime that it was given.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
}

impl Link {
    pub(crate) fn start(runtime: &Handle, target: u16) -> Self {
        let (mode, seen) = watch::channel(Mode::Open);
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        runtime.spawn(accept(listener, target, seen));
        Self { port, mode }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn accept(listener: TcpListener, target: u16, mode: watch::Receiver<Mode>) {
    let mut relayed = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        while relayed.try_join_next().is_some() {}
        let mode = mode.clone();
        relayed.spawn(async move {
            if *mode.borrow() == Mode::Cut {
                return;
            }
            let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            // One direction's end is the connection's: nothing here speaks half-closed.
            tokio::select! {
                () = carry(near_in, far_out, mode.clone()) => {}
                () = carry(far_in, near_out, mode.clone()) => {}
            }
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Cut => return,
            Mode::Stalled => {
                if mode.changed().await.is_err() {
                    return;
                }
            }
            Mode::Open => tokio::select! {
                read = from.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(n) => if to.write_all(&buffer[..n]).await.is_err() { return },
                },
                changed = mode.changed() => if changed.is_err() { return },
            },
        }
    }
}
