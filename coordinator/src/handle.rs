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
pub(crate) enum Input {
    Work {
        event: Option<Make>,
        look: Option<Look>,
    },
    /// Time passed.
    Tick,
    /// What came before is done, then the loop ends.
    Stop,
}

/// The coordinator ended while somebody still asked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the coordinator is ending")]
pub(crate) struct Ended;

#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Input>,
}

/// A handle for those whom the loop itself owns: the loop ends when all others are gone.
#[derive(Debug, Clone)]
pub(crate) struct Weak(mpsc::WeakSender<Input>);

impl Weak {
    pub(crate) fn handle(&self) -> Result<Handle, Ended> {
        self.0.upgrade().map(|inbox| Handle { inbox }).ok_or(Ended)
    }
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
        self.send(Input::Work { event: Some(event), look: None }).await
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

    /// Time passed. A full inbox needs no such word: its batches look at the clock.
    pub(crate) fn tick(&self) {
        let _ = self.inbox.try_send(Input::Tick);
    }

    /// Returns when the loop is gone.
    pub(crate) async fn ended(&self) {
        self.inbox.closed().await;
    }

    /// Ends the loop. One that has ended need not hear it.
    pub(crate) async fn stop(&self) {
        let _ = self.send(Input::Stop).await;
    }

    /// A handle that does not keep the loop running.
    pub(crate) fn weak(&self) -> Weak {
        Weak(self.inbox.downgrade())
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
        self.send(Input::Work { event, look: Some(look) }).await?;
        answered.await.map_err(|_| Ended)
    }

    async fn send(&self, input: Input) -> Result<(), Ended> {
        self.inbox.send(input).await.map_err(|_| Ended)
    }
}
