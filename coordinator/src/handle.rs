//! How everybody else speaks to the farm: a bounded inbox, read by the one thread that owns it.

use croft_core::{farm::Farm, step::Event};
use tokio::sync::{mpsc, oneshot};

use crate::run::Desk;

/// Events and questions that may wait; senders wait when it is full.
const INBOX: usize = 4_096;

/// Makes an event on the farm's thread, where names can be looked up; `None` for one that turned out to be nothing.
pub(crate) type Make = Box<dyn FnOnce(&Farm) -> Option<Event> + Send>;
/// Runs on the farm's thread after the batch that it came with is durable and its commands are performed.
pub(crate) type Look = Box<dyn FnOnce(&mut Desk) + Send>;

/// One thing for the farm's thread to do.
pub(crate) struct Input {
    pub(crate) event: Option<Make>,
    pub(crate) look: Option<Look>,
}

/// The coordinator ended while somebody still asked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the coordinator is ending")]
pub(crate) struct Ended;

#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Input>,
}

/// The inbox, both ends.
pub(crate) fn inbox() -> (Handle, mpsc::Receiver<Input>) {
    let (inbox, input) = mpsc::channel(INBOX);
    (Handle { inbox }, input)
}

impl Handle {
    /// Something happened.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), Ended> {
        self.tell_made(Box::new(|_| Some(event))).await
    }

    /// Something happened that only the farm's thread can put in its words.
    pub(crate) async fn tell_made(&self, event: Make) -> Result<(), Ended> {
        self.send(Input { event: Some(event), look: None }).await
    }

    /// Looks at the farm as its last durable batch left it. Keep it short: everybody waits meanwhile.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        self.work(None, look).await
    }

    /// Something happened; looks at what became of it once that is durable.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        event: impl FnOnce(&Farm) -> Option<Event> + Send + 'static,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        self.work(Some(Box::new(event)), look).await
    }

    async fn work<T: Send + 'static>(
        &self,
        event: Option<Make>,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (answer, answered) = oneshot::channel();
        let look: Look = Box::new(move |desk| {
            // Nobody waits for the answer any more when the caller hung up.
            let _ = answer.send(look(desk));
        });
        self.send(Input { event, look: Some(look) }).await?;
        answered.await.map_err(|_| Ended)
    }

    async fn send(&self, input: Input) -> Result<(), Ended> {
        self.inbox.send(input).await.map_err(|_| Ended)
    }
}
