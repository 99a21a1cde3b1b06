//! One render of a rank, and how what the rank says finds the render that it is said of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use croft_proto::{
    frame,
    v1::{FromRank, RankCancel, RankJoin, RankRender, Stage, from_rank::What, to_rank},
};
use tokio::{net::unix::OwnedReadHalf, sync::mpsc};

use super::Rank;

/// Messages of a render that wait to be read.
const WAITING: usize = 64;

/// A render that was asked for. Dropped, it is not listened to any more.
#[derive(Debug)]
pub(crate) struct Render {
    rank: Arc<Rank>,
    id: u64,
    from: mpsc::Receiver<What>,
}

impl Render {
    /// Asks `rank` for it.
    pub(crate) async fn begin(rank: &Arc<Rank>, mut render: RankRender) -> Result<Self, frame::Error> {
        let id = rank.renders.fetch_add(1, Ordering::Relaxed) + 1;
        render.id = id;
        let model = render.recipe.as_ref().map_or_else(String::new, |recipe| recipe.model.clone());
        let (say, from) = mpsc::channel(WAITING);
        rank.routes.open(id, Route { say, model });
        let begun = Self { rank: Arc::clone(rank), id, from };
        rank.say(to_rank::What::Render(render)).await?;
        Ok(begun)
    }

    /// Tells a rank of a gang where all its ranks are.
    pub(crate) async fn join(&self, addresses: Vec<String>) -> Result<(), frame::Error> {
        self.rank.say(to_rank::What::Join(RankJoin { id: self.id, addresses })).await
    }

    /// Asks for its end after its step.
    pub(crate) async fn cancel(&self) -> Result<(), frame::Error> {
        self.rank.say(to_rank::What::Cancel(RankCancel { id: self.id })).await
    }

    /// What is said of it next; `None` when the rank has ended. Dropped half-way it loses nothing.
    pub(crate) async fn next(&mut self) -> Option<What> {
        self.from.recv().await
    }
}

impl Drop for Render {
    fn drop(&mut self) {
        self.rank.routes.close(self.id);
    }
}

/// Who hears what a rank says, by the number of the render.
#[derive(Debug, Default)]
pub(super) struct Routes {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    routes: BTreeMap<u64, Route>,
    /// The model that is loaded; empty for none.
    resident: String,
    is_over: bool,
}

#[derive(Debug)]
pub(super) struct Route {
    say: mpsc::Sender<What>,
    model: String,
}

impl Routes {
    pub(super) fn resident(&self) -> String {
        self.lock().resident.clone()
    }

    fn open(&self, id: u64, route: Route) {
        let mut open = self.lock();
        // What begins after the end hears of the end.
        if !open.is_over {
            open.routes.insert(id, route);
        }
    }

    fn close(&self, id: u64) {
        self.lock().routes.remove(&id);
    }

    /// Hands on what the rank says until it says no more.
    pub(super) async fn listen(&self, mut stream: OwnedReadHalf) {
        loop {
            match frame::receive(&mut stream).await {
                Ok(Some(FromRank { what: Some(what) })) => self.hand_on(what).await,
                // Of a newer rank.
                Ok(Some(FromRank { what: None })) => {}
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "a rank is not understood");
                    break;
                }
            }
        }
        let mut open = self.lock();
        open.is_over = true;
        open.routes.clear();
    }

    async fn hand_on(&self, what: What) {
        let Some(id) = render_of(&what) else { return };
        let say = {
            let mut open = self.lock();
            // Of one that is over.
            let Some(route) = open.routes.get(&id) else { return };
            let (say, model) = (route.say.clone(), route.model.clone());
            if let What::Progress(progress) = &what {
                match progress.stage() {
                    // The old weights go before the new ones come.
                    Stage::Load => open.resident.clear(),
                    Stage::Encode | Stage::Denoise | Stage::Decode => open.resident = model,
                    Stage::Save | Stage::Unspecified => {}
                }
            }
            say
        };
        let _ = say.send(what).await;
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which render it is said of.
fn render_of(what: &What) -> Option<u64> {
    match what {
        What::Ready(_) => None,
        What::Progress(at) => Some(at.id),
        What::Done(done) => Some(done.id),
        What::Failed(failed) => Some(failed.id),
        What::Checkpoint(step) => Some(step.id),
        What::Listens(at) => Some(at.id),
    }
}
