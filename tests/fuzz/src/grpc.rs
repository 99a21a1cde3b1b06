//! Whatever comes over gRPC. One byte chooses the message that the rest is: it is written as it was read. The first number
//! is a worker's whole stream instead, message by message, to a farm with a job: the farm goes on, and a coordinator that
//! takes over reads what it wrote.

use std::collections::BTreeMap;

use croft_coordinator::edge;
use croft_core::{
    farm::{Config, Farm},
    ids::SessionId,
    plan::Plan,
    spec::{self, Source},
    step::{Command, Event, Published, Step},
    time::Time,
};
use croft_proto::v1::{self, WorkerMessage};
use prost::Message;

use super::{
    messages,
    records::{NOW, keep, recovered},
    spec::card,
};

/// Messages of one stream.
const SAID_MAX: usize = 32;

const SPEC: &str =
    "apiVersion: croft/v1\nkind: Job\nname: j\naxes: {seed: 1-3}\nlayers: [{name: a, model: m, prompt: x}]";

pub fn run(input: &[u8]) {
    match input.split_first() {
        None => {}
        Some((0, stream)) => session(stream),
        Some((number, bytes)) => {
            messages::read(number - 1, bytes);
            if let Ok(name) = std::str::from_utf8(bytes) {
                edge::names(name, v1::TaskSelector::default());
            }
            if let Ok(selector) = v1::TaskSelector::decode(bytes) {
                edge::names("", selector);
            }
        }
    }
}

/// Two sessions take turns: the second worker's messages are those at odd places.
fn session(mut stream: &[u8]) {
    let mut world = World::new();
    for at in 0..SAID_MAX as u64 {
        let Ok(message) = WorkerMessage::decode_length_delimited(&mut stream) else { break };
        let Some(what) = message.what else { continue };
        let session = SessionId(1 + at % 2);
        world.now = world.now.plus_ms(700);
        if let Some(event) = edge::heard(&world.farm, session, what) {
            world.happens(event);
        }
        world.happens(Event::Tick);
        edge::shown(&world.farm, world.now);
    }
    assert!(recovered(&world.store).is_some(), "what a farm wrote it reads");
}

struct World {
    farm: Farm,
    store: BTreeMap<String, Vec<u8>>,
    now: Time,
}

impl World {
    fn new() -> Self {
        let mut world = Self { farm: Farm::new(Config::default(), 1), store: BTreeMap::new(), now: NOW };
        let source = Source { name: "fuzz.yaml", text: SPEC, files: &BTreeMap::new(), set: &[] };
        let cards = [("m".to_owned(), card("m"))].into();
        let plan = Plan::new(spec::parse(&source).expect("a good spec"), &cards).expect("a good plan");
        let plan = Box::new(plan);
        world.happens(Event::JobSubmitted { request_id: "r".to_owned(), plan, trace: String::new() });
        world
    }

    fn happens(&mut self, event: Event) {
        let Step { writes, commands, .. } = self.farm.apply(self.now, event);
        keep(&mut self.store, writes);
        for command in commands {
            match command {
                Command::Start(assignment) => drop(edge::told(&self.farm, *assignment)),
                Command::Publish { attempt, sidecar, .. } => {
                    let bytes = sidecar.size_bytes;
                    let published = Published { sidecar, files: 1, bytes };
                    self.happens(Event::Published { attempt, outcome: Ok(published) });
                }
                Command::Welcome { .. }
                | Command::Refuse { .. }
                | Command::HangUp { .. }
                | Command::Revoke { .. }
                | Command::Collect { .. } => {}
            }
        }
    }
}
