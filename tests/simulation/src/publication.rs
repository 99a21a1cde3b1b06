//! A publication as the coordinator carries it out: one operation of the object store after the other, the sidecar last.
//! Its coordinator may die or be deposed between any two; what it began may go on for a while.

use croft_core::{
    failure::{Cause, Failure},
    ids::AttemptId,
    step::{Artifact, Event, Output, Published},
};

use crate::{
    agenda::Occurrence,
    mutants::Loop,
    objects::{Refused, Saved},
    world::World,
};

/// Tries of one publication when the store fails.
const TRIES: u32 = 4;

#[derive(Debug)]
pub(crate) struct Publication {
    node: usize,
    life: u32,
    attempt: AttemptId,
    prefix: String,
    sidecar: Artifact,
    output: Output,
    /// What the attempt saved, once it is read.
    files: Option<Saved>,
    /// Files that have their names.
    done: usize,
    tries: u32,
}

/// What one operation came to.
enum Op {
    More,
    Again,
    End(Result<Published, Failure>),
}

impl World {
    pub(crate) fn publish(
        &mut self,
        node: usize,
        attempt: AttemptId,
        prefix: String,
        sidecar: Artifact,
        output: Output,
    ) {
        if self
            .publications
            .values()
            .any(|p| p.attempt == attempt && p.life == self.nodes[node].life && p.node == node)
        {
            return self.accuse(format!("{attempt:?} is published twice at once by one leader"));
        }
        let life = self.nodes[node].life;
        self.people.publications += 1;
        let number = self.people.publications;
        let publication =
            Publication { node, life, attempt, prefix, sidecar, output, files: None, done: 0, tries: 0 };
        self.publications.insert(number, publication);
        self.publication_goes_on(number, 0);
    }

    fn publication_goes_on(&mut self, number: u64, pause: u64) {
        let slow = if self.objects.slow_until > self.now { self.chance.between(200, 8_000) } else { 0 };
        let way = self.chance.between(2, 20);
        self.agenda.note(self.now + pause + way + slow, Occurrence::Publication { number });
    }

    pub(crate) fn publication(&mut self, number: u64) {
        let Some(mut publication) = self.publications.remove(&number) else { return };
        let orphan = self.nodes[publication.node].life != publication.life;
        // What was on its way when its coordinator died may arrive; more comes only from one that lives on.
        if orphan && self.chance.per_mille(500) {
            return;
        }
        match self.operate(&mut publication) {
            Op::More => {
                self.publications.insert(number, publication);
                self.publication_goes_on(number, 0);
            }
            Op::Again if publication.tries + 1 < TRIES => {
                publication.tries += 1;
                let pause = 100 << (2 * publication.tries);
                self.publications.insert(number, publication);
                self.publication_goes_on(number, pause);
            }
            Op::Again => {
                let failure = Failure::new(Cause::StoreUnavailable, "the object store is down", "");
                self.answer_publication(&publication, Err(failure));
            }
            Op::End(outcome) => self.answer_publication(&publication, outcome),
        }
    }

    fn answer_publication(&mut self, publication: &Publication, outcome: Result<Published, Failure>) {
        self.diary.say(self.now, || {
            let how = match &outcome {
                Ok(_) => "done".to_owned(),
                Err(failure) => format!("{:?}: {}", failure.cause, failure.message),
            };
            format!("publication of {:?}: {how}", publication.attempt)
        });
        if self.nodes[publication.node].life == publication.life {
            let event = Event::Published { attempt: publication.attempt.clone(), outcome };
            self.tell(publication.node, event);
        }
    }

    fn operate(&mut self, publication: &mut Publication) -> Op {
        if self.objects.down_until > self.now {
            return Op::Again;
        }
        let Some(saved) = publication.files.clone() else { return self.read_sidecar(publication) };
        self.check_decided(&publication.attempt, &saved);
        if let Some((name, content)) = saved.files.get(publication.done) {
            publication.done += 1;
            return match self.objects.put(name, *content, saved.fence) {
                Ok(()) => Op::More,
                Err(why) => Op::End(Err(refused(why, name))),
            };
        }
        let name = &publication.output.sidecar;
        match self.objects.put_sidecar(name, &saved) {
            Ok(()) => Op::End(Ok(published(&publication.sidecar, saved.files.len()))),
            Err(why) => Op::End(Err(refused(why, name))),
        }
    }

    /// What the attempt saved must be what was decided. Where it is gone, an earlier publication may have done its work.
    fn read_sidecar(&mut self, publication: &mut Publication) -> Op {
        let wanted = &publication.sidecar.digest;
        match self.objects.attempts.get(&publication.prefix) {
            Some(saved) if saved.sidecar() == *wanted || self.plants(Loop::SidecarNotChecked) => {
                publication.files = Some(saved.clone());
                Op::More
            }
            Some(_) => {
                let failure = Failure::new(Cause::Internal, "the attempt's sidecar is another", "");
                Op::End(Err(failure))
            }
            None => match self.objects.sidecars.get(&publication.output.sidecar) {
                Some(there) if there.sidecar() == *wanted => {
                    Op::End(Ok(published(&publication.sidecar, there.files.len())))
                }
                Some(_) | None => Op::End(Err(refused(Refused::Vanished, &publication.prefix))),
            },
        }
    }
}

fn published(sidecar: &Artifact, files: usize) -> Published {
    Published { sidecar: sidecar.clone(), files: files as u32, bytes: files as u64 }
}

fn refused(why: Refused, name: &str) -> Failure {
    match why {
        Refused::Exists => {
            Failure::new(Cause::OutputExists, format!("'{name}' exists with other contents"), "")
        }
        // No waiting brings it back.
        Refused::Vanished => Failure::new(Cause::Internal, format!("'{name}' is gone from the store"), ""),
    }
}
