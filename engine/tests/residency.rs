//! However little of a model is in memory at once, the picture is the same bytes, and no more is in memory than was said.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::thread;

use common::{model, request};
use croft_engine::{
    card::card,
    parallel::{Group, Mode},
    pipelines::{Clip, Held, MostHeld, Pipeline},
    request::{Params, Request, Value},
    residency::Residency,
};

const LATE: [Residency; 2] = [Residency::Sequential, Residency::Streamed];

fn cases() -> [(String, Request); 3] {
    let shapes = "builtin://shapes".to_owned();
    let params = Params::from([("steps".to_owned(), Value::Number(4.0))]);
    let prompt = "a red circle moving right on a gray background";
    let of_shapes = Request::from_params(&card(&shapes).unwrap(), prompt, "", 7, &params).unwrap();
    [(model("ltx"), request("ltx")), (model("ltx095"), request("ltx095")), (shapes, of_shapes)]
}

struct Seen {
    clips: Vec<Clip>,
    most: MostHeld,
    /// After the last clip.
    held: Held,
}

/// Renders each request in turn, with one thread a rank; each rank has its own residency.
fn render(model: &str, requests: &[Request], groups: Vec<Group>, residency: &[Residency]) -> Vec<Seen> {
    let ranks = groups.into_iter().zip(residency.to_vec()).map(|(mut group, residency)| {
        let (model, requests) = (model.to_owned(), requests.to_vec());
        thread::spawn(move || {
            let card = card(&model).unwrap();
            let pipeline = Pipeline::load_split(&model, card, group.split(), residency).unwrap();
            let mut render = |request| pipeline.render_in(request, None, &mut group, &mut ()).unwrap();
            let clips = requests.iter().map(&mut render).collect();
            Seen { clips, most: pipeline.most_held(), held: pipeline.held() }
        })
    });
    let running: Vec<_> = ranks.collect();
    running.into_iter().map(|rank| rank.join().unwrap()).collect()
}

fn frames(seen: &[Seen]) -> Vec<&Vec<Vec<f32>>> {
    seen[0].clips.iter().map(|clip| &clip.frames).collect()
}

#[test]
fn every_residency_gives_the_same_bytes_in_every_split() {
    for (model, request) in cases() {
        let mut unguided = request.clone();
        unguided.guidance = 1.0;
        let requests = [request, unguided];
        let splits = [None, Some(Mode::Tensor), Some(Mode::Layers), Some(Mode::Guidance)];
        for split in splits {
            let groups = || match split {
                None => vec![Group::solo()],
                Some(mode) => Group::threads(2).into_iter().map(|group| group.by(mode)).collect(),
            };
            // There is one branch without guidance, and so nothing for a second rank.
            let requests = if split == Some(Mode::Guidance) { &requests[..1] } else { &requests[..] };
            let resident = render(&model, requests, groups(), &[Residency::Resident; 2]);
            let mut others: Vec<[Residency; 2]> = LATE.map(|late| [late; 2]).to_vec();
            if split.is_some() {
                // Ranks do the same together however much of their parts they have.
                others.push([Residency::Streamed, Residency::Resident]);
            }
            for residency in others {
                let late = render(&model, requests, groups(), &residency);
                assert!(frames(&late) == frames(&resident), "{model}: {split:?} {residency:?}");
            }
        }
    }
}

#[test]
fn two_parts_are_never_in_memory_together() {
    for (model, request) in cases() {
        let mut another = request.clone();
        another.prompt = "a blue square".to_owned();
        let requests = [request.clone(), request, another];
        let of = |residency| render(&model, &requests, vec![Group::solo()], &[residency]).remove(0);
        let whole = of(Residency::Resident);
        assert_eq!(whole.most.together, whole.held.all());
        let Held { text, blocks, rest, decoder } = whole.held;
        let sequential = of(Residency::Sequential);
        println!("{model}: {whole:?} {sequential:?}", whole = whole.most, sequential = sequential.most);
        assert_eq!(sequential.most.each, whole.held, "each part was there");
        assert_eq!(sequential.most.together, text.max(blocks + rest).max(decoder), "and none beside another");
        assert_eq!(sequential.held, Held::default(), "no clip begins with a decoder");
    }
}

#[test]
fn of_blocks_that_come_and_go_there_are_two_at_most() {
    for (model, request) in cases() {
        let of = |residency| {
            let requests = std::slice::from_ref(&request);
            render(&model, requests, vec![Group::solo()], &[residency]).remove(0)
        };
        let (whole, streamed) = (of(Residency::Resident), of(Residency::Streamed));
        let layers = Pipeline::load(&model).unwrap().layers();
        let two = 2 * whole.held.blocks / layers;
        println!("{model}: {layers} layers, {:?} of {:?}", streamed.most, whole.held);
        assert!(streamed.most.each.blocks <= two, "{} > {two}", streamed.most.each.blocks);
        assert!(streamed.most.each.blocks > 0 && streamed.most.each.rest == whole.held.rest);
        assert!(streamed.most.each.text <= whole.held.text);
        let transformer = streamed.most.each.blocks + whole.held.rest;
        let most = streamed.most.each.text.max(transformer).max(whole.held.decoder);
        assert_eq!(streamed.most.together, most);
    }
}

/// A clip whose prompts are remembered begins with the transformer, and only rank 0 has another use for the room.
#[test]
fn a_rank_that_does_not_decode_keeps_what_the_next_clip_begins_with() {
    let (model, request) = cases().into_iter().last().unwrap();
    let seen = render(&model, &[request.clone(), request], Group::threads(2), &[Residency::Sequential; 2]);
    assert_eq!(seen[0].held, Held::default());
    assert!(seen[1].held.blocks > 0 && seen[1].held.text == 0, "{:?}", seen[1].held);
    assert_eq!(seen[1].clips[1].times.load_ms, 0.0, "the second clip read nothing");
    assert!(seen[0].clips[1].times.load_ms > 0.0);
}
