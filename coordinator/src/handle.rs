//! How everybody else speaks to the farm: a bounded inbox, read by the one thread that owns it.

use croft_core::{audit::Entry, farm::Farm, step::Event};
use tokio::sync::{mpsc, oneshot};

use crate::run::Desk;

/// Events and questions that may wait; senders wait when it is full.
const INBOX: usize = 4_096;

/// Makes an event on the farm's thread, where names can be looked up; `None` for one that turned out to be nothing.
pub(crate) type Make = Box<dyn FnOnce(&Farm) -> Option<Event> + Send>;
/// Runs on the farm's thread after the batch that it came with is durable and its commands are performed; or hears why
/// its event was not taken.
pub(crate) type Look = Box<dyn FnOnce(Result<&mut Desk, Refusal>) + Send>;

/// One thing for the farm's thread to do.
pub(crate) enum Input {
    /// Of somebody who can be sent away: a client, who tries again. A change comes with its line for the book.
    Asked { event: Option<(Make, Box<Entry>)>, look: Look },
    /// Of a worker or of our own hands: it happened, whether it can be written now or only later.
    Happened { event: Make, look: Option<Look> },
    /// Time passed.
    Tick,
    /// What came before is done, then the loop ends.
    Stop,
}

/// Why the farm's thread did not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the coordinator is ending")]
    Ended,
    /// With the address of the one that leads, when it is known.
    #[error("this coordinator does not lead{}", leader.as_ref().map(|at| format!("; {at} does")).unwrap_or_default())]
    NotLeader { leader: Option<String> },
    /// Nothing can be made durable at the moment.
    #[error("nothing can be written now: {why}")]
    Stalled { why: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Handle {
    inbox: mpsc::Sender<Input>,
}

/// A handle for those whom the loop itself owns: the loop ends when all others are gone.
#[derive(Debug, Clone)]
pub(crate) struct Weak(mpsc::WeakSender<Input>);

impl Weak {
    pub(crate) fn handle(&self) -> Result<Handle, Refusal> {
        self.0.upgrade().map(|inbox| Handle { inbox }).ok_or(Refusal::Ended)
    }
}

/// The inbox, both ends.
pub(crate) fn inbox() -> (Handle, mpsc::Receiver<Input>) {
    let (inbox, input) = mpsc::channel(INBOX);
    (Handle { inbox }, input)
}

impl Handle {
    /// Something happened that only the farm's thread can put in its words.
    pub(crate) async fn tell_made(&self, event: Make) -> Result<(), Refusal> {
        self.send(Input::Happened { event, look: None }).await
    }

    /// Something happened; looks at what became of it once that is durable, however long that takes.
    pub(crate) async fn tell<T: Send + 'static>(
        &self,
        event: impl FnOnce(&Farm) -> Option<Event> + Send + 'static,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (look, answered) = answering(look);
        self.send(Input::Happened { event: Box::new(event), look: Some(look) }).await?;
        answered.await.unwrap_or(Err(Refusal::Ended))
    }

    /// Looks at the farm as its last durable batch left it. Keep it short: everybody waits meanwhile.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (look, answered) = answering(look);
        self.send(Input::Asked { event: None, look }).await?;
        answered.await.unwrap_or(Err(Refusal::Ended))
    }

    /// Somebody wants something; looks at what became of it once that is durable, and with it `entry`, the line of the
    /// book that tells of it.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        entry: Entry,
        event: impl FnOnce(&Farm) -> Option<Event> + Send + 'static,
        look: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (look, answered) = answering(look);
        let event: Make = Box::new(event);
        self.send(Input::Asked { event: Some((event, Box::new(entry))), look }).await?;
        answered.await.unwrap_or(Err(Refusal::Ended))
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

    async fn send(&self, input: Input) -> Result<(), Refusal> {
        self.inbox.send(input).await.map_err(|_| Refusal::Ended)
    }
}

/// A look whose result comes back to whoever asked.
fn answering<T: Send + 'static>(
    look: impl FnOnce(&mut Desk) -> T + Send + 'static,
) -> (Look, oneshot::Receiver<Result<T, Refusal>>) {
    let (answer, answered) = oneshot::channel();
    let look: Look = Box::new(move |desk| {
        // Nobody waits for the answer any more when the caller hung up.
        let _ = answer.send(desk.map(look));
    });
    (look, answered)
}
