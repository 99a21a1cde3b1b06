//! Several shots in flight over ranks that have some of the layers each: every one is the shot that would be rendered alone.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/gang.rs"]
mod gang;

use std::{sync::Arc, thread};

use common::{model, request};
use croft_engine::{
    card::card,
    parallel::{Mode, Split, Turns},
    pipelines::{Clip, Pipeline},
    progress::Observer,
    request::{Params, Request, Value},
};
use gang::tcp;

/// Devices that hold a part of the model each.
struct Devices(Vec<(Arc<Pipeline>, Turns)>);

impl Devices {
    fn new(model: &str, ranks: usize) -> Self {
        let device = |rank| {
            let split = Split::equal(rank, ranks).by(Mode::Layers);
            (Arc::new(Pipeline::load_split(model, card(model).unwrap(), &split).unwrap()), Turns::default())
        };
        Self((0..ranks).map(device).collect())
    }

    /// Renders all `requests` at once.
    fn render(&self, requests: &[Request]) -> Vec<Clip> {
        let renders = requests.iter().map(|request| {
            let ranks = tcp(self.0.len()).into_iter().zip(&self.0).map(|(group, (pipeline, turns))| {
                let (request, pipeline, turns) = (request.clone(), Arc::clone(pipeline), turns.clone());
                thread::spawn(move || {
                    let mut group = group.by(Mode::Layers).in_turns(&turns, Box::new(|| ()));
                    pipeline.render_in(&request, None, &mut group, &mut ()).unwrap()
                })
            });
            ranks.collect::<Vec<_>>()
        });
        let running: Vec<Vec<_>> = renders.collect();
        let whole = |ranks: Vec<thread::JoinHandle<Clip>>| {
            ranks.into_iter().map(|rank| rank.join().unwrap()).next().unwrap()
        };
        running.into_iter().map(whole).collect()
    }
}

/// Shots of one model that differ in what they ask, and in their number of steps.
fn shots(of: &Request) -> Vec<Request> {
    let shot = |seed: u64| Request { seed, steps: of.steps + seed as u32, ..of.clone() };
    (0..4).map(shot).collect()
}

#[test]
fn shots_in_flight_are_those_that_were_rendered_alone() {
    let model_of_three = "builtin://shapes";
    let params = Params::from([("steps".to_owned(), Value::Number(4.0))]);
    let built_in = Request::from_params(
        &card(model_of_three).unwrap(),
        "a red circle moving right on a gray background",
        "",
        7,
        &params,
    )
    .unwrap();
    let unguided = Request { guidance: 1.0, ..built_in.clone() };
    for (model, of, ranks) in [
        (model_of_three.to_owned(), built_in, 2),
        (model_of_three.to_owned(), unguided, 3),
        (model("ltx095"), request("ltx095"), 2),
    ] {
        let devices = Devices::new(&model, ranks);
        let shots = shots(&of);
        let alone: Vec<Clip> =
            shots.iter().flat_map(|shot| devices.render(std::slice::from_ref(shot))).collect();
        for _ in 0..3 {
            let together = devices.render(&shots);
            for (number, (one, other)) in together.iter().zip(&alone).enumerate() {
                assert!(one.frames == other.frames, "{model}: shot {number} of {} in flight", shots.len());
            }
        }
    }
}

/// Ends its render after a step.
struct Stops;

impl Observer for Stops {
    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn a_shot_that_ends_leaves_its_companions_alone() {
    let (model, request) = (model("ltx"), request("ltx"));
    let devices = Devices::new(&model, 2);
    let alone = devices.render(std::slice::from_ref(&request)).remove(0);
    let stopped: Vec<_> = tcp(2)
        .into_iter()
        .zip(&devices.0)
        .map(|(group, (pipeline, turns))| {
            let (request, pipeline, turns) = (request.clone(), Arc::clone(pipeline), turns.clone());
            thread::spawn(move || {
                let mut group = group.by(Mode::Layers).in_turns(&turns, Box::new(|| ()));
                pipeline.render_in(&request, None, &mut group, &mut Stops).unwrap_err()
            })
        })
        .collect();
    assert!(devices.render(std::slice::from_ref(&request)).remove(0).frames == alone.frames);
    for rank in stopped {
        assert_eq!(rank.join().unwrap().to_string(), "cancelled");
    }
}
